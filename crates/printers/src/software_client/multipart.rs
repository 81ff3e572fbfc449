//! A form with a file in it (RFC 7578), as browsers send it. The file streams.

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::HeaderValue;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use model::RequestId;
use tunnel::agent_services::ServiceBody;
use tunnel::agent_side::BoxError;

use crate::platforms::Upload;

/// Fields and a file.
pub(crate) struct Form {
    boundary: String,
    head: String,
}

impl Form {
    /// A form with these fields, all of them ours.
    pub(crate) fn new(fields: &[(&str, &str)]) -> Self {
        // Random, so that it is in nobody's file.
        let boundary = format!("spoolway-{}", RequestId::generate().as_str());
        let field = |(name, value): &(&str, &str)| {
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let head = fields.iter().map(field).collect();
        Self { boundary, head }
    }

    pub(crate) fn content_type(&self) -> Result<HeaderValue, http::Error> {
        Ok(HeaderValue::from_str(&format!("multipart/form-data; boundary={}", self.boundary))?)
    }

    /// The form's body with a file at its end, and its length if the file's is known.
    pub(crate) fn with_file(self, file_name: &str, upload: Upload) -> (ServiceBody, Option<u64>) {
        // As browsers do it: these would end the name, or the line.
        let name = file_name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A");
        let head = format!(
            "{}--{}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            self.head, self.boundary
        );
        let end = format!("\r\n--{}--\r\n", self.boundary);
        let length = upload.length.map(|length| length + (head.len() + end.len()) as u64);
        let frame = |text: String| stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from(text)))]);
        let file = stream::unfold(upload.body, |mut body| async {
            loop {
                match body.frame().await? {
                    // What follows a visitor's body has no place in a form.
                    Ok(frame) if frame.is_trailers() => {}
                    frame => return Some((frame, body)),
                }
            }
        });
        (StreamBody::new(frame(head).chain(file).chain(frame(end))).boxed_unsync(), length)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;

    #[tokio::test]
    async fn names_cannot_leave_their_quotes_and_lengths_are_right() {
        let form = Form::new(&[("root", "gcodes"), ("path", "a b")]);
        let kind = form.content_type().expect("boundaries are letters and digits");
        let boundary = kind.to_str().expect("it is text").split_once("boundary=").expect("it is named").1.to_owned();
        let body = Full::new(Bytes::from("G28\n")).map_err(BoxError::from).boxed_unsync();
        let (body, length) = form.with_file("x\"; name=\"y\r\n.gcode", Upload { body, length: Some(4) });
        let bytes = body.collect().await.expect("it does not fail").to_bytes();
        assert_eq!(Some(bytes.len() as u64), length);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.contains("filename=\"x%22; name=%22y%0D%0A.gcode\"\r\n"), "{text}");
        assert!(text.ends_with(&format!("\r\n\r\nG28\n\r\n--{boundary}--\r\n")), "{text}");
        assert_eq!(text.matches(&format!("--{boundary}\r\n")).count(), 3);
    }
}
