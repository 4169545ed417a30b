//! The routes: requests into calls of the daemon, answers into JSON.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, RawQuery, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{
        IntoResponse, Response,
        sse::{KeepAlive, Sse},
    },
    routing::{MethodRouter, delete, get, post},
};
use futures_util::stream::{self, Stream};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use sync_core::{
    control::{
        AddFolder, AddedFolder, ApiError, Candidate, ErrorItem, ErrorKind, FileInfo, Folder,
        FolderAction, FolderRef, MAX_BODY, MoveFolder, OptionInfo, Peer, RemovedFolder,
        SecretShown, SetFolder, Status, Stopping,
    },
    options::find_setting,
    secret::Level,
};
use tokio_util::sync::CancellationToken;
use utoipa::openapi::{RefOr, Schema};

use super::{
    Control, NewFolder,
    backend::absolute,
    metrics,
    openapi::{DOCUMENT, Parameter, Schemas, json, list},
};
use crate::options;

/// The longest path of a file in a folder, in bytes, as `sync_core::path` takes it.
const MAX_FILE_PATH: usize = 4096;

/// What every handler shares.
#[derive(Clone)]
struct App {
    control: Arc<dyn Control>,
    shutdown: CancellationToken,
}

/// One route: what serves it, and what there is to say of it. Router and description are made from the table of them.
#[derive(Clone, Copy)]
pub(super) struct Route {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) query: &'static [Parameter],
    pub(super) takes: Option<Describe>,
    pub(super) gives: Gives,
    pub(super) status: &'static str,
    handler: fn() -> MethodRouter<App>,
}

/// Names a type among those that the description has.
type Describe = fn(&mut Schemas) -> RefOr<Schema>;

/// What a route answers with.
#[derive(Clone, Copy)]
pub(super) enum Gives {
    /// Plain text.
    Text,
    /// JSON of no type of ours.
    Document,
    /// JSON.
    Json(Describe),
    /// A stream of events.
    Events,
}

/// Shortens the table below.
const fn route(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    gives: Gives,
    handler: fn() -> MethodRouter<App>,
) -> Route {
    Route {
        method,
        path,
        summary,
        query: &[],
        takes: None,
        gives,
        status: "200",
        handler,
    }
}

impl Route {
    /// With parameters in the query.
    const fn query(mut self, query: &'static [Parameter]) -> Self {
        self.query = query;
        self
    }

    /// With a body of this type.
    const fn takes(mut self, body: Describe) -> Self {
        self.takes = Some(body);
        self
    }

    /// With another status than 200.
    const fn status(mut self, status: &'static str) -> Self {
        self.status = status;
        self
    }
}

const SINCE: &[Parameter] = &[Parameter {
    name: "since",
    help: "Begin after this event; 0 begins with the oldest that is kept, without it the stream begins with the next to \
           happen.",
    required: false,
}];
const PATH: &[Parameter] = &[Parameter {
    name: "path",
    help: "The file's path in the folder; its bytes, percent-encoded.",
    required: true,
}];
const LEVEL: &[Parameter] = &[Parameter {
    name: "level",
    help: "read-write or read-only; without it, the strongest that is held.",
    required: false,
}];

/// Every route there is.
pub(super) const ROUTES: &[Route] = &[
    route("GET", "/healthz", "Answers ok while the daemon runs.", Gives::Text, || get(async || "ok\n")),
    route("GET", "/metrics", "The status for Prometheus, text format 0.0.4.", Gives::Text, || get(metrics)),
    route("GET", "/api/v1/openapi.json", "This description.", Gives::Document, || get(openapi)),
    route("GET", "/api/v1/status", "The state of everything.", Gives::Json(json::<Status>), || get(status)),
    route("GET", "/api/v1/events", "What happens, as server-sent events; the data of each is an Event. The header Last-Event-ID does the same as since.", Gives::Events, || get(events)).query(SINCE),
    route("GET", "/api/v1/options", "Every option of the daemon and every setting of a folder.", Gives::Json(list::<OptionInfo>), || get(option_list)),
    route("POST", "/api/v1/shutdown", "Begins an orderly stop.", Gives::Json(json::<Stopping>), || post(shutdown)),
    route("GET", "/api/v1/folders", "Every folder.", Gives::Json(list::<Folder>), || get(folders)),
    route("POST", "/api/v1/folders", "Adds a folder.", Gives::Json(json::<AddedFolder>), || post(add_folder)).takes(json::<AddFolder>).status("201"),
    route("GET", "/api/v1/folders/{id}", "One folder.", Gives::Json(json::<Folder>), || get(folder)),
    route("DELETE", "/api/v1/folders/{id}", "Forgets a folder and its secret; its files are left alone.", Gives::Json(json::<RemovedFolder>), || delete(remove_folder)),
    route("POST", "/api/v1/folders/{id}/pause", "Lets a folder rest.", Gives::Json(json::<Folder>), || act(FolderAction::Pause)),
    route("POST", "/api/v1/folders/{id}/resume", "Lets a paused folder go on.", Gives::Json(json::<Folder>), || act(FolderAction::Resume)),
    route("POST", "/api/v1/folders/{id}/rescan", "Looks at the whole disk again.", Gives::Json(json::<Folder>), || act(FolderAction::Rescan)),
    route("POST", "/api/v1/folders/{id}/adopt", "Takes the root that is there now, which was replaced on purpose.", Gives::Json(json::<Folder>), || act(FolderAction::Adopt)),
    route("POST", "/api/v1/folders/{id}/approve", "Lets held deletions go.", Gives::Json(json::<Folder>), || act(FolderAction::Approve)),
    route("POST", "/api/v1/folders/{id}/reject", "Fetches back what held deletions took.", Gives::Json(json::<Folder>), || act(FolderAction::Reject)),
    route("POST", "/api/v1/folders/{id}/move", "Says that the root is elsewhere now.", Gives::Json(json::<Folder>), || post(move_folder)).takes(json::<MoveFolder>),
    route("POST", "/api/v1/folders/{id}/set", "Changes a setting.", Gives::Json(json::<Folder>), || post(set_folder)).takes(json::<SetFolder>),
    route("GET", "/api/v1/folders/{id}/file", "Why a file is as it is.", Gives::Json(json::<FileInfo>), || get(file)).query(PATH),
    route("GET", "/api/v1/folders/{id}/peers", "The connected peers.", Gives::Json(list::<Peer>), || get(peers)),
    route("GET", "/api/v1/folders/{id}/discover", "Every address where a member may be.", Gives::Json(list::<Candidate>), || get(candidates)),
    route("GET", "/api/v1/folders/{id}/errors", "Every item that is stuck.", Gives::Json(list::<ErrorItem>), || get(errors)),
    route("GET", "/api/v1/folders/{id}/secret", "The folder's secret.", Gives::Json(json::<SecretShown>), || get(secret)).query(LEVEL),
];

/// The method and the path of every route, for whoever describes or tests them.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.iter().map(|route| (route.method, route.path))
}

/// The whole API over a daemon. Streams of events end when `shutdown` is cancelled.
pub fn router(control: Arc<dyn Control>, shutdown: CancellationToken) -> Router {
    ROUTES
        .iter()
        .fold(Router::new(), |router, route| {
            router.route(route.path, (route.handler)())
        })
        .fallback(async |request: Request| {
            Failure(ApiError::new(
                ErrorKind::NotFound,
                format!("there is no {}", request.uri().path()),
            ))
        })
        .method_not_allowed_fallback(async |request: Request| {
            Failure(ApiError::new(
                ErrorKind::MethodNotAllowed,
                format!("{} doesn't take {}", request.uri().path(), request.method()),
            ))
        })
        .with_state(App { control, shutdown })
}

type Reply<T> = Result<Json<T>, Failure>;

async fn openapi() -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "application/json")],
        DOCUMENT.as_str(),
    )
}

async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, Failure> {
    let status = app.control.status().await?;
    Ok((
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        metrics::render(&status),
    ))
}

async fn status(State(app): State<App>) -> Reply<Status> {
    Ok(Json(app.control.status().await?))
}

async fn shutdown(State(app): State<App>) -> Reply<Stopping> {
    app.control.shutdown().await?;
    Ok(Json(Stopping { stopping: true }))
}

async fn folders(State(app): State<App>) -> Reply<Vec<Folder>> {
    Ok(Json(app.control.status().await?.folders))
}

async fn add_folder(
    State(app): State<App>,
    Body(request): Body<AddFolder>,
) -> Result<(StatusCode, Json<AddedFolder>), Failure> {
    let added = app.control.add_folder(NewFolder::parse(request)?).await?;
    Ok((StatusCode::CREATED, Json(added)))
}

async fn folder(State(app): State<App>, Id(id): Id) -> Reply<Folder> {
    Ok(Json(app.control.folder(id).await?))
}

async fn remove_folder(State(app): State<App>, Id(id): Id) -> Reply<RemovedFolder> {
    Ok(Json(app.control.remove_folder(id).await?))
}

/// A route for an action that needs no more than its folder.
fn act(action: FolderAction) -> MethodRouter<App> {
    post(move |State(app): State<App>, Id(id): Id| {
        let action = action.clone();
        async move { Reply::Ok(Json(app.control.act(id, action).await?)) }
    })
}

async fn move_folder(
    State(app): State<App>,
    Id(id): Id,
    Body(request): Body<MoveFolder>,
) -> Reply<Folder> {
    absolute(&request.path)?;
    Ok(Json(
        app.control
            .act(id, FolderAction::Move(request.path))
            .await?,
    ))
}

async fn set_folder(
    State(app): State<App>,
    Id(id): Id,
    Body(request): Body<SetFolder>,
) -> Reply<Folder> {
    let read = find_setting(options::all(), &request.key)
        .and_then(|option| option.parse(option.key, &request.value));
    let value = read.map_err(|error| ApiError::bad_request(error.to_string()))?;
    let action = FolderAction::Set(request.key, value);
    Ok(Json(app.control.act(id, action).await?))
}

async fn option_list() -> Reply<Vec<OptionInfo>> {
    Ok(Json(options::all().map(OptionInfo::from).collect()))
}

async fn file(State(app): State<App>, Id(id): Id, RawQuery(query): RawQuery) -> Reply<FileInfo> {
    let path = parameter(query.as_deref(), "path")
        .ok_or_else(|| ApiError::bad_request("which file? the request needs ?path="))?;
    if path.is_empty() || path.len() > MAX_FILE_PATH {
        return Err(ApiError::bad_request("the file's path is empty or too long").into());
    }
    Ok(Json(app.control.file(id, path).await?))
}

async fn peers(State(app): State<App>, Id(id): Id) -> Reply<Vec<Peer>> {
    Ok(Json(app.control.folder(id).await?.peers))
}

async fn candidates(State(app): State<App>, Id(id): Id) -> Reply<Vec<Candidate>> {
    Ok(Json(app.control.candidates(id).await?))
}

async fn errors(State(app): State<App>, Id(id): Id) -> Reply<Vec<ErrorItem>> {
    Ok(Json(app.control.errors(id).await?))
}

async fn secret(
    State(app): State<App>,
    Id(id): Id,
    RawQuery(query): RawQuery,
) -> Result<(HeaderMap, Json<SecretShown>), Failure> {
    let level = match parameter(query.as_deref(), "level").as_deref() {
        None => None,
        Some(b"read-write") => Some(Level::ReadWrite),
        Some(b"read-only") => Some(Level::ReadOnly),
        Some(_) => return Err(ApiError::bad_request("a level is read-write or read-only").into()),
    };
    let mut headers = HeaderMap::new();
    headers.insert(
        header::CACHE_CONTROL,
        header::HeaderValue::from_static("no-store"),
    );
    Ok((headers, Json(app.control.secret(id, level).await?)))
}

/// The stream of events, from `since` or else from the event that the client says it saw last.
async fn events(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<axum::response::sse::Event, Infallible>>>, Failure> {
    let asked = parameter(query.as_deref(), "since").or_else(|| {
        headers
            .get("last-event-id")
            .map(|id| id.as_bytes().to_vec())
    });
    let since = asked
        .map(|since| {
            std::str::from_utf8(&since)
                .ok()
                .and_then(|since| since.parse::<u64>().ok())
                .ok_or(())
        })
        .transpose()
        .map_err(|()| ApiError::bad_request("`since` is the number of an event"))?;
    let subscription = app.control.events().subscribe(since);
    let stream = stream::unfold(
        (subscription, app.shutdown),
        async |(mut subscription, shutdown)| {
            let event = tokio::select! {
                // What has happened is told even when the daemon is about to stop.
                biased;
                event = subscription.next() => event,
                () = shutdown.cancelled() => return None,
            };
            let data = serde_json::to_string(&event).unwrap_or_default();
            let line = axum::response::sse::Event::default()
                .id(event.id.to_string())
                .event(event.kind.as_str())
                .data(data);
            Some((Ok(line), (subscription, shutdown)))
        },
    );
    // A client that is gone is only noticed by writing to it.
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

/// The first value of a query's parameter, as bytes: a file's name needn't be UTF-8.
fn parameter(query: Option<&str>, name: &str) -> Option<Vec<u8>> {
    query?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key == name).then(|| percent_decode_str(&value.replace('+', " ")).collect())
    })
}

/// An error on its way out.
#[derive(Debug)]
struct Failure(ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind.http_status())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

/// The folder that a path names.
struct Id(FolderRef);

impl FromRequestParts<App> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &App) -> Result<Self, Failure> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|error| ApiError::bad_request(error.body_text()))?;
        Ok(Self(FolderRef::parse(&id)?))
    }
}

/// A request's body, read no further than the limit.
struct Body<T>(T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &App) -> Result<Self, Failure> {
        let limit = usize::try_from(MAX_BODY).unwrap_or(usize::MAX);
        let bytes: Bytes = axum::body::to_bytes(request.into_body(), limit)
            .await
            .map_err(|_| {
                ApiError::new(
                    ErrorKind::TooLarge,
                    format!("a request's body is at most {MAX_BODY} bytes"),
                )
            })?;
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Self(value)),
            // The parser's own words may quote the text, and with it a secret.
            Err(error) => Err(ApiError::bad_request(format!(
                "the body isn't what this request takes (line {}, column {})",
                error.line(),
                error.column()
            ))
            .with_hint("/api/v1/openapi.json describes it")
            .into()),
        }
    }
}
