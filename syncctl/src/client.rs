//! A client of the control API: HTTP/1.1 over the daemon's Unix socket, one connection for each request.

use std::{io, path::Path, time::Duration};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sync_core::control::{API_PREFIX, ApiError, Folder};
use tokio::{net::UnixStream, time::timeout};

use crate::{Failure, Home};

/// How long an answer may take. Adding a folder probes its disk, which on a slow one takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest answer that is read.
const MAX_ANSWER: usize = 64 << 20;

/// The largest event that is read.
const MAX_EVENT: usize = 1 << 20;

/// Talks to one daemon.
#[derive(Debug)]
pub(crate) struct Client {
    home: Home,
}

impl Client {
    pub(crate) fn new(home: Home) -> Self {
        Self { home }
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, None).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::DELETE, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value, Failure> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(error))?;
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Makes a type of an answer.
    pub(crate) fn read<T: DeserializeOwned>(&self, answer: Value) -> Result<T, Failure> {
        serde_json::from_value(answer).map_err(|error| self.broken(error))
    }

    /// The path of a folder in the API. An argument with a `/` in it, `.` and `..` are paths from here;
    /// anything else is a name, unless only a directory here has that name.
    pub(crate) async fn folder(&self, argument: &str) -> Result<String, Failure> {
        let is_path = argument.contains('/') || matches!(argument, "." | "..");
        let here = || absolute(argument);
        let id = if argument.is_empty() {
            return Err(Failure::usage("a folder's name or path can't be empty"));
        } else if is_path {
            here()?
        } else if Path::new(argument).is_dir() {
            let folders: Vec<Folder> = self.read(self.get("/folders").await?)?;
            if folders.iter().any(|folder| folder.name == argument) {
                argument.to_owned()
            } else {
                here()?
            }
        } else {
            argument.to_owned()
        };
        Ok(format!("/folders/{}", encode(id.as_bytes())))
    }

    /// Follows the events.
    pub(crate) async fn events(&self, since: Option<u64>) -> Result<Events, Failure> {
        let path = since.map_or_else(
            || "/events".to_owned(),
            |since| format!("/events?since={since}"),
        );
        let response = self.send(Method::GET, &path, None).await?;
        let body = self.checked(response).await?;
        Ok(Events {
            body,
            buffer: Vec::new(),
        })
    }

    /// A connection to the daemon, for what only the connection itself can tell.
    pub(crate) async fn connect(&self) -> Result<UnixStream, Failure> {
        UnixStream::connect(self.home.socket())
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::NotADirectory => self.home.no_daemon(),
                io::ErrorKind::PermissionDenied => Failure::failed(
                    format!(
                        "the control socket {} belongs to another user",
                        self.home.socket().display()
                    ),
                    Some("run this as the user who runs the daemon"),
                ),
                _ => self.broken(error),
            })
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Value, Failure> {
        let answer = async {
            let response = self.send(method, path, body).await?;
            let body = self.checked(response).await?;
            let bytes = Limited::new(body, MAX_ANSWER)
                .collect()
                .await
                .map_err(|e| self.broken(e))?;
            serde_json::from_slice(&bytes.to_bytes()).map_err(|error| self.broken(error))
        };
        timeout(PATIENCE, answer).await.unwrap_or_else(|_| {
            Err(self.broken(format!(
                "it gave no answer for {} seconds",
                PATIENCE.as_secs()
            )))
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, Failure> {
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        // It ends by itself when the answer was read or dropped.
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{API_PREFIX}{path}"))
            .header(header::HOST, "localhost");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| self.broken(error))?;
        sender
            .send_request(request)
            .await
            .map_err(|error| self.broken(error))
    }

    /// The body of a good answer, or the error that the daemon sent.
    async fn checked(&self, response: Response<Incoming>) -> Result<Incoming, Failure> {
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let bytes = Limited::new(response.into_body(), MAX_EVENT)
            .collect()
            .await;
        let error = bytes
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes.to_bytes()).ok());
        Err(error.map_or_else(
            || self.broken(format!("it answered {status}")),
            |e: ApiError| e.into(),
        ))
    }

    fn broken(&self, reason: impl ToString) -> Failure {
        Failure::Connection {
            socket: self.home.socket(),
            reason: reason.to_string(),
        }
    }
}

/// A stream of server-sent events.
#[derive(Debug)]
pub(crate) struct Events {
    body: Incoming,
    buffer: Vec<u8>,
}

impl Events {
    /// The data of the next event; none at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Value>, String> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let data: Vec<u8> = block
                    .split(|byte| *byte == b'\n')
                    .filter_map(|line| line.strip_prefix(b"data:"))
                    .collect::<Vec<_>>()
                    .join(&b'\n');
                // A block without data is there to keep the connection alive.
                if !data.is_empty() {
                    return serde_json::from_slice(&data)
                        .map(Some)
                        .map_err(|error| error.to_string());
                }
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(error.to_string()),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
            }
            if self.buffer.len() > MAX_EVENT {
                return Err("an event is too large".to_owned());
            }
        }
    }
}

/// Bytes as a part of a request's path.
pub(crate) fn encode(bytes: &[u8]) -> String {
    percent_encode(bytes, NON_ALPHANUMERIC).to_string()
}

/// A path from here as the daemon needs it: absolute, and without links if it exists.
pub(crate) fn absolute(path: &str) -> Result<String, Failure> {
    let unusable =
        |reason: &str| Failure::usage(format!("`{path}` can't be a folder's path: {reason}"));
    let absolute = std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .map_err(|error| unusable(&error.to_string()))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|_| unusable("it isn't UTF-8"))
}
