//! What gRPC puts around a message ("gRPC over HTTP2"): a prefix, headers, and a status behind it.

use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use reqwest::Url;

use super::TrustFiles;
use super::http::{Exchange, Request};
use crate::config::HttpVersion;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A call: the method is the path of the URL, the message as protobuf has it.
pub fn call<'a>(url: &'a Url, trust: &'a TrustFiles, message: &[u8], body_bytes_max: usize) -> Request<'a> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    Request {
        version: HttpVersion::V2,
        headers,
        body: framed(message).into(),
        body_bytes_max,
        ..Request::new(Method::POST, url, trust)
    }
}

/// The status of a call and the words with it: behind the body, or among the headers where there
/// is no body. `None`: whoever answers does not speak gRPC.
pub fn status(exchange: &Exchange) -> Option<(u16, String)> {
    let of = |headers: &HeaderMap| {
        let status = headers.get(STATUS)?.to_str().ok()?.parse().ok()?;
        let words = headers.get(MESSAGE).map(|words| String::from_utf8_lossy(words.as_bytes()).into_owned());
        Some((status, words.unwrap_or_default()))
    };
    exchange.trailers.as_ref().and_then(of).or_else(|| of(&exchange.answer.headers))
}

/// A message with its prefix: not compressed, so many octets.
fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// The message in a body that holds one, whole and not compressed.
pub fn message(body: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = body.split_first_chunk::<5>()?;
    let [compressed, length @ ..] = prefix;
    let whole = usize::try_from(u32::from_be_bytes(*length)).ok()? == message.len();
    (*compressed == 0 && whole).then_some(message)
}

/// A field of protobuf that has a length: a text, octets, another message.
pub fn field(number: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(number << 3 | 2);
    varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// What a field of protobuf holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// A number, or a truth.
    Number(u64),
    /// A text, octets, another message.
    Octets(&'a [u8]),
}

/// The fields of a message, in their order; those of a fixed width are left out. `None`: it is
/// none.
pub fn fields(mut message: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        let number = key >> 3;
        match key & 7 {
            0 => fields.push((number, Value::Number(take_varint(&mut message)?))),
            1 => drop(take(&mut message, 8)?),
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                fields.push((number, Value::Octets(take(&mut message, length)?)));
            }
            5 => drop(take(&mut message, 4)?),
            _ => return None,
        }
    }
    Some(fields)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let octet = take(rest, 1)?[0];
        number |= u64::from(octet & 0x7f) << shift;
        if octet < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed_and_unframed() {
        assert_eq!(framed(b""), [0, 0, 0, 0, 0]);
        assert_eq!(framed(b"ab"), [0, 0, 0, 0, 2, b'a', b'b']);
        assert_eq!(message(&framed(b"ab")), Some(&b"ab"[..]));
        for broken in [&b""[..], b"\0\0\0\0", b"\x01\0\0\0\x01a", b"\0\0\0\0\x02a", b"\0\0\0\0\x01ab"] {
            assert_eq!(message(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn fields_are_as_protobuf_has_them() {
        let mut out = Vec::new();
        field(1, b"shop", &mut out);
        assert_eq!(out, [0x0a, 4, b's', b'h', b'o', b'p']);
        let mut out = Vec::new();
        field(2, &[b'x'; 200], &mut out);
        assert_eq!(out[..4], [0x12, 0xc8, 1, b'x']);
        assert_eq!(fields(&out).unwrap(), [(2, Value::Octets(&[b'x'; 200]))]);
    }

    #[test]
    fn fields_are_read_and_rubbish_is_not() {
        let read = fields(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x52\x02no\x50\x01").unwrap();
        let expected = [(1, Value::Number(u64::MAX)), (10, Value::Octets(b"no")), (10, Value::Number(1))];
        assert_eq!(read, expected);
        assert!(fields(b"\x09\0\0\0\0\0\0\0\0\x0d\0\0\0\0").unwrap().is_empty());
        for rubbish in
            [&b"\x08"[..], b"\x0a\x05shop", b"\x0b", b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
        {
            assert_eq!(fields(rubbish), None, "{rubbish:?}");
        }
    }
}
