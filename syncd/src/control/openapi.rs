//! The description of the API, OpenAPI 3.1, made from the table of routes and from the types that they take and give.

use std::{collections::BTreeMap, sync::LazyLock};

use sync_core::{
    control::{ApiError, Event},
    options::{Declaration, Places, Shape, Value, Values},
};
use utoipa::{
    ToSchema,
    openapi::{
        ComponentsBuilder, Content, ContentBuilder, HttpMethod, InfoBuilder, OpenApi,
        OpenApiBuilder, Paths, Ref, RefOr, Required, ResponseBuilder, Schema,
        path::{OperationBuilder, ParameterBuilder, ParameterIn},
        request_body::RequestBodyBuilder,
        schema::{ArrayBuilder, ObjectBuilder, Type},
    },
};

use super::routes::{Gives, ROUTES, Route};
use crate::options;

/// What is served. It is the same for each daemon of this version.
pub(super) static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| describe().to_json().unwrap_or_default());

/// The types that the routes name.
pub(super) type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Names a type, and brings it and all that it is made of among the types.
pub(super) fn json<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    let mut parts = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut parts);
    schemas.extend(parts);
    Ref::from_schema_name(T::name()).into()
}

/// Names the list of a type.
pub(super) fn list<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    ArrayBuilder::new().items(json::<T>(schemas)).into()
}

/// A parameter of a request.
#[derive(Clone, Copy)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) required: bool,
}

fn describe() -> OpenApi {
    let mut schemas = Schemas::new();
    let mut paths = Paths::new();
    let failure = answer(
        "It didn't work.",
        "application/json",
        json::<ApiError>(&mut schemas),
    );
    for route in ROUTES {
        let (method, item) = operation(route, &failure, &mut schemas);
        paths.add_path_operation(route.path, vec![method], item);
    }
    schemas.insert(Values::name().into_owned(), settings());
    let info = InfoBuilder::new()
        .title("syncd control API")
        .version("1")
        .description(Some(
            "HTTP/1.1 with JSON on the daemon's Unix socket. Sizes are in bytes, rates in bytes per second, times \
             RFC 3339 UTC. Fields and values are added, never renamed: a client must take no offence at one that it \
             doesn't know. A request's body is at most 64 KiB.",
        ))
        .build();
    let components = schemas
        .into_iter()
        .fold(ComponentsBuilder::new(), |all, (name, schema)| {
            all.schema(name, schema)
        })
        .build();
    OpenApiBuilder::new()
        .info(info)
        .paths(paths)
        .components(Some(components))
        .build()
}

fn operation(
    route: &Route,
    failure: &utoipa::openapi::Response,
    schemas: &mut Schemas,
) -> (HttpMethod, utoipa::openapi::path::Operation) {
    let method = match route.method {
        "POST" => HttpMethod::Post,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    };
    let mut operation = OperationBuilder::new().summary(Some(route.summary));
    if route.path.contains("{id}") {
        let help = "The folder's name, or its absolute path, percent-encoded.";
        operation = operation.parameter(parameter("id", ParameterIn::Path, help, true));
    }
    for query in route.query {
        let (name, help) = (query.name, query.help);
        operation = operation.parameter(parameter(name, ParameterIn::Query, help, query.required));
    }
    if let Some(takes) = route.takes {
        let body = RequestBodyBuilder::new()
            .content("application/json", content(takes(schemas)))
            .required(Some(Required::True));
        operation = operation.request_body(Some(body.build()));
    }
    let text = || ObjectBuilder::new().schema_type(Type::String).into();
    let (kind, schema) = match route.gives {
        Gives::Text => ("text/plain", text()),
        Gives::Document => ("application/json", ObjectBuilder::new().into()),
        Gives::Json(of) => ("application/json", of(schemas)),
        Gives::Events => ("text/event-stream", json::<Event>(schemas)),
    };
    operation = operation.response(route.status, answer("Done.", kind, schema));
    if !matches!((&route.gives, route.path), (Gives::Text, "/healthz")) {
        operation = operation.response("default", failure.clone());
    }
    (method, operation.build())
}

fn parameter(
    name: &str,
    place: ParameterIn,
    help: &str,
    required: bool,
) -> utoipa::openapi::path::Parameter {
    let required = if required {
        Required::True
    } else {
        Required::False
    };
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(required)
        .description(Some(help))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
        .build()
}

fn content(schema: RefOr<Schema>) -> Content {
    ContentBuilder::new().schema(Some(schema)).build()
}

fn answer(help: &str, kind: &str, schema: RefOr<Schema>) -> utoipa::openapi::Response {
    ResponseBuilder::new()
        .description(help)
        .content(kind, content(schema))
        .build()
}

/// The settings of a folder, as their declarations say.
fn settings() -> RefOr<Schema> {
    let mut all = ObjectBuilder::new().description(Some(
        "The settings of a folder. GET /api/v1/options says what each takes.",
    ));
    for option in options::all().filter(|o| o.places.has(Places::FOLDER)) {
        // Reports name each with its default.
        all = all
            .property(option.key, setting(option))
            .required(option.key);
    }
    all.into()
}

fn setting(option: &Declaration) -> RefOr<Schema> {
    let one = |kind| {
        ObjectBuilder::new()
            .schema_type(kind)
            .description(Some(option.help))
    };
    match (option.shape, option.read(option.default)) {
        (Shape::Switch, _) => one(Type::Boolean).into(),
        (Shape::List, _) => ArrayBuilder::new()
            .items(ObjectBuilder::new().schema_type(Type::String))
            .description(Some(option.help))
            .into(),
        (Shape::One, Ok(Value::Number(_))) => one(Type::Integer).into(),
        (Shape::One, _) => one(Type::String).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference leads somewhere, and everything that is named has a description.
    #[test]
    fn the_document_is_whole() {
        fn walk(value: &serde_json::Value, all: &serde_json::Value) {
            match value {
                serde_json::Value::Object(fields) => {
                    if let Some(serde_json::Value::String(to)) = fields.get("$ref") {
                        let name = to.strip_prefix("#/components/schemas/").unwrap();
                        assert!(all["components"]["schemas"].get(name).is_some(), "{name}");
                    }
                    fields.values().for_each(|value| walk(value, all));
                }
                serde_json::Value::Array(items) => items.iter().for_each(|value| walk(value, all)),
                _ => {}
            }
        }
        let document: serde_json::Value = serde_json::from_str(&DOCUMENT).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        walk(&document, &document);
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for (name, schema) in schemas {
            assert!(
                schema.get("description").is_some(),
                "{name} isn't described"
            );
            for (field, what) in schema["properties"].as_object().into_iter().flatten() {
                // One that may be null refers to its type in a choice.
                let told = ["description", "$ref", "oneOf"]
                    .iter()
                    .any(|key| what.get(key).is_some());
                assert!(told, "{name}.{field} isn't described");
            }
        }
    }
}
