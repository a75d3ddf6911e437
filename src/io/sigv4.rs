//! Signatures of AWS requests, version 4 (AWS, "Signature Version 4 signing process").

use std::fmt::Write;

use ring::{digest, hmac};

use crate::base::Secret;

/// Who signs, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The access key's id.
    pub key_id: &'a str,
    /// The secret access key.
    pub secret: &'a Secret,
    /// The region, `eu-west-1`.
    pub region: &'a str,
    /// The service, `dynamodb`.
    pub service: &'a str,
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, as it is sent.
    pub path: &'a str,
    /// The query, sorted and encoded; empty if there is none.
    pub query: &'a str,
    /// The headers, in lower case and sorted, `host` and `x-amz-date` among them.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
    /// When, `YYYYMMDDTHHMMSSZ`, as in `x-amz-date`.
    pub date: &'a str,
}

impl Signer<'_> {
    /// The value of `Authorization`.
    pub fn authorization(&self, request: &Signed<'_>) -> String {
        let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, request.query);
        for (name, value) in request.headers {
            canonical += &format!("{name}:{}\n", value.trim());
        }
        let names: Vec<&str> = request.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        canonical += &format!("\n{names}\n{}", hex(digest::digest(&digest::SHA256, request.body).as_ref()));
        let day = request.date.get(..8).unwrap_or_default();
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let text = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            request.date,
            hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref())
        );
        let signature = hex(&mac(&self.key(day), text.as_bytes()));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.key_id
        )
    }

    /// The signing key of a day.
    fn key(&self, day: &str) -> Vec<u8> {
        let first = format!("AWS4{}", self.secret.reveal());
        [day, self.region, self.service, "aws4_request"]
            .iter()
            .fold(first.into_bytes(), |key, text| mac(&key, text.as_bytes()))
    }
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of AWS's own documentation: a signed GET of IAM's ListUsers.
    #[test]
    fn the_documented_example() {
        let secret = Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY");
        let signer = Signer { key_id: "AKIDEXAMPLE", secret: &secret, region: "us-east-1", service: "iam" };
        assert_eq!(
            hex(&signer.key("20150830")),
            "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
        );
        let authorization = signer.authorization(&Signed {
            method: "GET",
            path: "/",
            query: "Action=ListUsers&Version=2010-05-08",
            headers: &[
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                ("host", "iam.amazonaws.com"),
                ("x-amz-date", "20150830T123600Z"),
            ],
            body: b"",
            date: "20150830T123600Z",
        });
        assert_eq!(
            authorization,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }
}
