use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sync_core::control::EventType;
use tokio::{net::UnixStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{fake::FakeControl, server::may_connect, *};

/// A fake daemon that serves on a socket of its own.
struct Daemon {
    home: tempfile::TempDir,
    fake: Arc<FakeControl>,
    stop: CancellationToken,
    serving: JoinHandle<Result<(), ControlError>>,
}

impl Daemon {
    async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let fake = FakeControl::sample(stop.clone());
        let socket = ControlSocket::bind(&home.path().join("control.sock"))
            .await
            .unwrap();
        let serving = tokio::spawn(socket.serve(fake.clone(), stop.clone()));
        Self {
            home,
            fake,
            stop,
            serving,
        }
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("control.sock")
    }

    async fn send(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Response<Incoming> {
        let stream = UnixStream::connect(self.socket()).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(path)
            .header("host", "localhost")
            .body(Full::new(body.into()))
            .unwrap();
        sender.send_request(request).await.unwrap()
    }

    async fn text(&self, method: &str, path: &str, body: &str) -> (StatusCode, String) {
        let response = self.send(method, path, body.to_owned()).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn json(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = self.text(method, path, body).await;
        (status.as_u16(), serde_json::from_str(&text).unwrap())
    }

    /// An error: its status and its kind, checked to say something.
    async fn refused(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let (status, error) = self.json(method, path, body).await;
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|message| message.len() > 10),
            "{error}"
        );
        (status, error["kind"].as_str().unwrap().to_owned())
    }
}

/// Reads a stream until it holds `text`.
async fn read_until(body: &mut Incoming, text: &str) -> String {
    let mut read = String::new();
    while !read.contains(text) {
        let frame = body.frame().await.expect("the stream ended").unwrap();
        read.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    read
}

#[tokio::test]
async fn folders_are_found_by_name_and_by_path() {
    let daemon = Daemon::start().await;
    let (status, by_name) = daemon.json("GET", "/api/v1/folders/Docs", "").await;
    assert_eq!((status, &by_name["name"]), (200, &json!("Docs")));
    let (_, by_path) = daemon
        .json("GET", "/api/v1/folders/%2Fhome%2Fu%2FDocs", "")
        .await;
    assert_eq!(by_name, by_path);
    let unknown = daemon.refused("GET", "/api/v1/folders/Nope", "").await;
    assert_eq!(unknown, (404, "not-found".into()));
    let relative = daemon.refused("GET", "/api/v1/folders/a%2Fb", "").await;
    assert_eq!(relative, (400, "bad-request".into()));
    let bytes = daemon.refused("GET", "/api/v1/folders/%ff", "").await;
    assert_eq!(bytes, (400, "bad-request".into()));
}

#[tokio::test]
async fn a_folder_is_added_once() {
    let daemon = Daemon::start().await;
    let body = json!({"path": "/new/Music", "known_hosts": ["nas:29170"]}).to_string();
    let (status, added) = daemon.json("POST", "/api/v1/folders", &body).await;
    assert_eq!((status, &added["folder"]["name"]), (201, &json!("Music")));
    assert_eq!(added["secret"].as_str().unwrap().len(), 37);
    assert_eq!(
        daemon.refused("POST", "/api/v1/folders", &body).await,
        (409, "conflict".into())
    );
}

#[tokio::test]
async fn bad_requests_are_told_apart() {
    let daemon = Daemon::start().await;
    for body in [
        "".to_owned(),
        "{}".to_owned(),
        json!({"path": "relative"}).to_string(),
        json!({"path": "/a", "name": "a/b"}).to_string(),
        json!({"path": "/a", "known_hosts": ["nowhere"]}).to_string(),
        json!({"path": "/a", "secrets": "typo"}).to_string(),
    ] {
        let refused = daemon.refused("POST", "/api/v1/folders", &body).await;
        assert_eq!(refused, (400, "bad-request".into()), "{body}");
    }
    assert_eq!(
        daemon.refused("GET", "/nothing", "").await,
        (404, "not-found".into())
    );
    let method = daemon.refused("PUT", "/api/v1/status", "").await;
    assert_eq!(method, (405, "method-not-allowed".into()));
    let large = "x".repeat(65 * 1024);
    assert_eq!(
        daemon.refused("POST", "/api/v1/folders", &large).await,
        (413, "too-large".into())
    );
    let key = json!({"key": "colour", "value": "red"}).to_string();
    let refused = daemon
        .refused("POST", "/api/v1/folders/Docs/set", &key)
        .await;
    assert_eq!(refused, (400, "bad-request".into()));
    // And it goes on.
    assert_eq!(
        daemon.text("GET", "/healthz", "").await,
        (StatusCode::OK, "ok\n".into())
    );
}

#[tokio::test]
async fn a_refused_secret_is_not_quoted() {
    let daemon = Daemon::start().await;
    let typo = "AHUSHHUSHHUSHHUSHHUSHHUSHHUSHHUSHHUSH";
    for body in [
        json!({"path": "/a", "secret": typo}).to_string(),
        format!("{{\"path\": {typo}"),
    ] {
        let (status, text) = daemon.text("POST", "/api/v1/folders", &body).await;
        assert_eq!(status, 400);
        assert!(!text.contains("HUSH"), "{text}");
    }
}

#[tokio::test]
async fn secrets_come_at_the_level_that_is_held() {
    let daemon = Daemon::start().await;
    let path = "/api/v1/folders/Docs/secret";
    assert_eq!(daemon.json("GET", path, "").await.1["level"], "read-write");
    let (_, weaker) = daemon
        .json("GET", &format!("{path}?level=read-only"), "")
        .await;
    assert_eq!(weaker["level"], "read-only");
    let (status, _) = daemon
        .refused("GET", "/api/v1/folders/Photos/secret?level=read-write", "")
        .await;
    assert_eq!(status, 409);
    assert_eq!(
        daemon
            .refused("GET", &format!("{path}?level=all"), "")
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn names_of_files_may_be_any_bytes() {
    let daemon = Daemon::start().await;
    let (_, file) = daemon
        .json(
            "GET",
            "/api/v1/folders/Photos/file?path=2026%2Fimg%201.jpg",
            "",
        )
        .await;
    assert_eq!(file["state"], "fetching");
    let (_, plus) = daemon
        .json("GET", "/api/v1/folders/Photos/file?path=2026/img+1.jpg", "")
        .await;
    assert_eq!(plus, file);
    let (_, odd) = daemon
        .json("GET", "/api/v1/folders/Photos/file?path=a%ff", "")
        .await;
    assert_eq!(
        (&odd["state"], &odd["path_hex"]),
        (&json!("absent"), &json!("61ff"))
    );
    assert_eq!(
        daemon
            .refused("GET", "/api/v1/folders/Photos/file", "")
            .await
            .0,
        400
    );
}

#[tokio::test]
async fn events_begin_where_they_are_asked_to() {
    let daemon = Daemon::start().await;
    let log = daemon.fake.events();
    for number in 1..=3 {
        log.push(
            EventType::FolderState,
            Some("Docs"),
            json!({ "number": number }),
        );
    }
    let mut body = daemon
        .send("GET", "/api/v1/events?since=1", "")
        .await
        .into_body();
    let text = read_until(&mut body, "\"number\":3").await;
    assert!(
        text.starts_with("id: 2\nevent: folder-state\ndata: {"),
        "{text}"
    );
    assert!(!text.contains("\"number\":1"));
    // It follows.
    log.push(EventType::FileApplied, Some("Docs"), json!({ "number": 4 }));
    read_until(&mut body, "\"number\":4").await;
    assert_eq!(
        daemon
            .refused("GET", "/api/v1/events?since=soon", "")
            .await
            .0,
        400
    );
    // And it ends with the daemon.
    daemon.stop.cancel();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
    }
    daemon.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_listener_that_missed_events_is_told() {
    let log = EventLog::new();
    let mut all = log.subscribe(Some(0));
    for _ in 0..EVENTS_KEPT + 5 {
        log.push(EventType::FileApplied, None, json!({}));
    }
    assert_eq!(all.next().await.id, 6);
    let mut later = log.subscribe(Some(2));
    let gap = later.next().await;
    assert_eq!(
        (gap.kind, gap.id, gap.data),
        (EventType::Gap, 5, json!({"first": 3, "last": 5}))
    );
    assert_eq!(later.next().await.id, 6);
    let mut restarted = log.subscribe(Some(9_999));
    assert_eq!(restarted.next().await.kind, EventType::Gap);
    assert_eq!(restarted.next().await.id, 6);
}

#[tokio::test]
async fn shutdown_ends_the_server_and_takes_the_file_away() {
    let daemon = Daemon::start().await;
    let mode = std::fs::metadata(daemon.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let answer = daemon.json("POST", "/api/v1/shutdown", "").await;
    assert_eq!(answer, (200, json!({"stopping": true})));
    let Daemon { home, serving, .. } = daemon;
    serving.await.unwrap().unwrap();
    assert!(std::fs::read_dir(home.path()).unwrap().next().is_none());
}

#[tokio::test]
async fn only_a_dead_socket_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("control.sock");
    // A daemon that was killed leaves its file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let first = ControlSocket::bind(&path).await.unwrap();
    assert!(matches!(
        ControlSocket::bind(&path).await,
        Err(ControlError::InUse { .. })
    ));
    drop(first);
    assert!(!path.exists());
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(
        ControlSocket::bind(&path).await,
        Err(ControlError::NotASocket { .. })
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    let long = home.path().join("x".repeat(120));
    assert!(matches!(
        ControlSocket::bind(&long).await,
        Err(ControlError::PathTooLong { .. })
    ));
    let nowhere = Path::new("/nonexistent/control.sock");
    assert!(matches!(
        ControlSocket::bind(nowhere).await,
        Err(ControlError::Bind { .. })
    ));
}

#[test]
fn others_may_not_connect() {
    assert!(may_connect(1000, 1000));
    assert!(may_connect(0, 1000));
    assert!(!may_connect(1001, 1000));
    assert!(!may_connect(1000, 0));
}

#[tokio::test]
async fn metrics_have_a_value_on_each_line() {
    let daemon = Daemon::start().await;
    daemon
        .fake
        .edit_folder("Docs", |folder| folder.name = "a\"b\\\n".into());
    let (status, text) = daemon.text("GET", "/metrics", "").await;
    assert_eq!(status, 200);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(
            name.starts_with("syncd_") && value.parse::<u64>().is_ok(),
            "{line}"
        );
    }
    assert!(text.contains("syncd_folder_need_bytes{folder=\"Photos\"} 3221225472"));
    assert!(text.contains("syncd_folder_state{folder=\"a\\\"b\\\\\\n\",state=\"in-sync\"} 1"));
}

#[tokio::test]
async fn the_description_and_the_routes_are_one() {
    let daemon = Daemon::start().await;
    let (_, description) = daemon.json("GET", "/api/v1/openapi.json", "").await;
    let described: BTreeSet<(String, String)> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let served: BTreeSet<_> = routes()
        .map(|(method, path)| (method.to_owned(), path.to_owned()))
        .collect();
    assert_eq!(described, served);
    for (method, path) in served {
        // Each gets a daemon of its own: some take the folder away, one the daemon.
        let daemon = Daemon::start().await;
        let status = daemon
            .send(&method, &path.replace("{id}", "Docs"), "")
            .await
            .status();
        assert!(status != 404 && status != 405, "{method} {path}: {status}");
    }
}

#[tokio::test]
async fn the_description_has_every_field() {
    let daemon = Daemon::start().await;
    let (_, description) = daemon.json("GET", "/api/v1/openapi.json", "").await;
    daemon.fake.edit_folder("Photos", |folder| {
        fake::hold(folder, 3, 4);
        folder.scan = Some(Default::default());
    });
    let (_, status) = daemon.json("GET", "/api/v1/status", "").await;
    let (_, file) = daemon
        .json("GET", "/api/v1/folders/Photos/file?path=2026/img+1.jpg", "")
        .await;
    let (_, errors) = daemon
        .json("GET", "/api/v1/folders/Photos/errors", "")
        .await;
    let (_, found) = daemon
        .json("GET", "/api/v1/folders/Photos/discover", "")
        .await;
    let (_, secret) = daemon.json("GET", "/api/v1/folders/Docs/secret", "").await;
    let (_, added) = daemon
        .json("POST", "/api/v1/folders", "{\"path\":\"/x\"}")
        .await;
    let (_, removed) = daemon.json("DELETE", "/api/v1/folders/x", "").await;
    let (_, error) = daemon.json("DELETE", "/api/v1/folders/x", "").await;
    let folder = &status["folders"][1];
    for (schema, value) in [
        ("Status", &status),
        ("Device", &status["device"]),
        ("Mechanism", &status["discovery"][0]),
        ("Traffic", &status["traffic"]),
        ("Rates", &status["rates"]),
        ("Folder", folder),
        ("Counts", &folder["local"]),
        ("Need", &folder["need"]),
        ("Settings", &folder["settings"]),
        ("ScanProgress", &folder["scan"]),
        ("Held", &folder["held"]),
        ("Peer", &folder["peers"][0]),
        ("Candidate", &found[1]),
        ("ErrorItem", &errors[0]),
        ("ErrorItem", &errors[1]),
        ("FileInfo", &file),
        ("VersionInfo", &file["version"]),
        ("Dot", &file["version"]["vector"][0]),
        ("Holder", &file["holders"][0]),
        ("Transferred", &file["progress"]),
        ("SecretShown", &secret),
        ("AddedFolder", &added),
        ("RemovedFolder", &removed),
        ("ApiError", &error),
    ] {
        let described = &description["components"]["schemas"][schema];
        let sent = value
            .as_object()
            .unwrap_or_else(|| panic!("no {schema} was sent"));
        for key in sent.keys() {
            assert!(
                described["properties"].get(key).is_some(),
                "{schema}.{key} isn't described"
            );
        }
        for key in described["required"].as_array().unwrap() {
            assert!(
                sent.contains_key(key.as_str().unwrap()),
                "{schema}.{key} isn't sent"
            );
        }
    }
}
