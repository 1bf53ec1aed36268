//! Requests, answers and errors as JSON-RPC 2.0 has them.

use geto::Error;
use serde_json::{Map, Value, json};

use crate::printer::error_object;

/// The most requests of a batch.
const BATCH_MAX: usize = 1024;

/// A call of a method.
#[derive(Debug, PartialEq)]
pub(super) struct Request {
    /// What its answer is to be known by; none when no answer is wanted.
    pub(super) id: Option<Value>,
    pub(super) method: String,
    /// An object or an array.
    pub(super) params: Value,
}

/// Why there is no result.
#[derive(Debug, PartialEq)]
pub(super) struct Failure {
    code: i32,
    message: String,
    data: Option<Value>,
}

/// A request that is none, and what its answer is known by.
#[derive(Debug, PartialEq)]
pub(super) struct Unfit {
    id: Value,
    failure: Box<Failure>,
}

/// What stands on a line.
#[derive(Debug, PartialEq)]
pub(super) enum Message {
    One(Result<Request, Unfit>),
    Batch(Vec<Result<Request, Unfit>>),
}

impl Message {
    /// Reads a line.
    pub(super) fn read(line: &[u8]) -> Self {
        let unfit = |failure| Self::One(Err(Unfit::new(Value::Null, failure)));
        match serde_json::from_slice(line) {
            Err(error) => unfit(Failure::new(-32700, format!("failed to parse: {error}"))),
            Ok(Value::Array(batch)) if batch.is_empty() => {
                unfit(Failure::invalid_request("the batch is empty"))
            }
            Ok(Value::Array(batch)) if batch.len() > BATCH_MAX => unfit(Failure::invalid_request(
                format!("{} requests are more than the {BATCH_MAX} of a batch", batch.len()),
            )),
            Ok(Value::Array(batch)) => Self::Batch(batch.into_iter().map(Request::of).collect()),
            Ok(value) => Self::One(Request::of(value)),
        }
    }
}

impl Request {
    fn of(value: Value) -> Result<Self, Unfit> {
        let Value::Object(mut object) = value else {
            let failure = Failure::invalid_request("a request is an object");
            return Err(Unfit::new(Value::Null, failure));
        };
        let id = object.remove("id");
        let known = match &id {
            None | Some(Value::Null | Value::String(_) | Value::Number(_)) => {
                id.clone().unwrap_or_default()
            }
            Some(_) => {
                let failure = Failure::invalid_request("`id` is a string, a number or null");
                return Err(Unfit::new(Value::Null, failure));
            }
        };
        let unfit = |failure| Unfit::new(known.clone(), failure);
        if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(unfit(Failure::invalid_request("`jsonrpc` is not \"2.0\"")));
        }
        let Some(Value::String(method)) = object.remove("method") else {
            return Err(unfit(Failure::invalid_request("`method` is not a string")));
        };
        let params = object.remove("params").unwrap_or_else(|| Map::new().into());
        if !params.is_object() && !params.is_array() {
            return Err(unfit(Failure::invalid_request("`params` is no object")));
        }
        Ok(Self { id, method, params })
    }
}

impl Unfit {
    fn new(id: Value, failure: Failure) -> Self {
        Self { id, failure: Box::new(failure) }
    }

    /// The line was not even read.
    pub(super) fn long(most: usize) -> Self {
        let failure = Failure::invalid_request(format!("a line has more than {most} bytes"));
        Self::new(Value::Null, failure)
    }

    /// The answer to it.
    pub(super) fn answer(self) -> Value {
        answer(&self.id, Err(*self.failure))
    }
}

impl Failure {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(-32600, message)
    }

    /// There is no such method.
    pub(super) fn no_method(name: &str) -> Self {
        Self::new(-32601, format!("there is no method `{name}`"))
    }

    /// The parameters are not what the method takes.
    pub(super) fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(-32602, message)
    }

    /// As many requests as this are served already.
    pub(super) fn too_many(most: usize) -> Self {
        Self::new(-32001, format!("{most} requests are served at once: wait for one to end"))
    }
}

impl From<Error> for Failure {
    /// What geto says of it, as docs/json.md describes an error.
    fn from(error: Error) -> Self {
        let mut data = serde_json::to_value(error_object(&error)).unwrap_or_default();
        if let Some(data) = data.as_object_mut() {
            data.remove("event");
        }
        Self { code: -32000, message: error.to_string(), data: Some(data) }
    }
}

/// The answer to the request `id`.
pub(super) fn answer(id: &Value, result: Result<Value, Failure>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(Failure { code, message, data }) => {
            let mut error = json!({ "code": code, "message": message });
            if let Some(data) = data {
                error["data"] = data;
            }
            json!({ "jsonrpc": "2.0", "id": id, "error": error })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> (Value, i32) {
        match Message::read(line.as_bytes()) {
            Message::One(Err(Unfit { id, failure })) => (id, failure.code),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn reads_calls_with_and_without_an_answer() {
        let line = br#"{"jsonrpc": "2.0", "id": "a", "method": "run", "params": {"x": 1}}"#;
        let Message::One(Ok(request)) = Message::read(line) else { panic!() };
        assert_eq!((request.id, &*request.method), (Some("a".into()), "run"));
        assert_eq!(request.params["x"], 1);
        let line = br#"{"jsonrpc": "2.0", "method": "hosts"}"#;
        let Message::One(Ok(request)) = Message::read(line) else { panic!() };
        assert_eq!((request.id, request.params), (None, json!({})));
    }

    #[test]
    fn refuses_what_is_no_request_by_the_codes_of_the_standard() {
        assert_eq!(refused("{"), (Value::Null, -32700));
        assert_eq!(refused("\u{0}"), (Value::Null, -32700));
        assert_eq!(refused("[]"), (Value::Null, -32600));
        assert_eq!(refused("1"), (Value::Null, -32600));
        assert_eq!(refused(r#"{"id": 1, "method": "run"}"#), (1.into(), -32600));
        assert_eq!(refused(r#"{"jsonrpc": "1.0", "id": 1, "method": "run"}"#), (1.into(), -32600));
        assert_eq!(refused(r#"{"jsonrpc": "2.0", "id": 1, "method": 1}"#), (1.into(), -32600));
        assert_eq!(refused(r#"{"jsonrpc": "2.0", "id": {}, "method": "a"}"#).1, -32600);
        let line = r#"{"jsonrpc": "2.0", "id": 1, "method": "a", "params": "b"}"#;
        assert_eq!(refused(line), (1.into(), -32600));
    }

    #[test]
    fn reads_each_request_of_a_batch() {
        let line = br#"[1, {"jsonrpc": "2.0", "id": 2, "method": "hosts"}]"#;
        let Message::Batch(batch) = Message::read(line) else { panic!() };
        assert!(batch[0].is_err() && batch[1].is_ok());
        let many = format!("[{}]", vec!["1"; BATCH_MAX + 1].join(","));
        assert_eq!(refused(&many).1, -32600);
    }
}
