//! The fields of a plugin's call: a form as browsers send it, with a picture or without.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use multer::{Constraints, Field, Multipart, SizeLimit};

use super::answer::Refusal;

/// All fields but the picture. Plugins send some twenty short ones, and a list of a hundred numbers.
const MAX_TEXT: usize = 64 * 1024;
/// Fields of a call.
const MAX_FIELDS: usize = 64;
/// Plugins shrink pictures to 2 MiB.
const MAX_PICTURE: u64 = 3 * 1024 * 1024;
/// What stands around the fields.
const MAX_OVERHEAD: u64 = 64 * 1024;
/// Plugins themselves wait five minutes for their picture to get through.
const LIMIT: Duration = Duration::from_secs(300);

/// The texts of a call by the names of their fields.
#[derive(Debug, Default)]
pub(super) struct Texts(HashMap<String, String>);

impl Texts {
    /// A field that is there and says something. `None` is how a Python program writes that it does not.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|text| text.trim()).filter(|text| !text.is_empty() && *text != "None")
    }

    /// A number; whatever else is there counts as nothing.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// A number that counts something: -1 stands for what is not known.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        self.number(name).filter(|number| (0.0..=1e15).contains(number)).map(|number| number as u64)
    }

    fn insert(&mut self, name: String, text: String) -> Result<(), Refusal> {
        if self.0.len() >= MAX_FIELDS {
            return Err(Refusal::TooLarge);
        }
        self.0.insert(name, text);
        Ok(())
    }
}

/// A call whose texts have been read, up to its picture.
pub(super) struct Call {
    pub(super) texts: Texts,
    rest: Option<(Field<'static>, Multipart<'static>)>,
}

impl Call {
    /// Reads the texts. The picture stays where it is: nothing of it is taken from somebody who has not proved to be a
    /// printer.
    pub(super) async fn read(request: Request) -> Result<Self, Refusal> {
        tokio::time::timeout(LIMIT, read(request)).await.unwrap_or(Err(Refusal::Malformed("The call came too slowly.")))
    }

    /// Whether there is a picture to read.
    pub(super) fn has_picture(&self) -> bool {
        self.rest.is_some()
    }

    /// Reads the picture, and the texts behind it.
    pub(super) async fn picture(&mut self) -> Result<Option<Bytes>, Refusal> {
        let Some((field, mut multipart)) = self.rest.take() else { return Ok(None) };
        let reading = async {
            let picture = field.bytes().await.map_err(refusal_of)?;
            while let Some(field) = multipart.next_field().await.map_err(refusal_of)? {
                if field.file_name().is_some() {
                    return Err(Refusal::Malformed("There is more than one picture."));
                }
                take_text(&mut self.texts, field).await?;
            }
            Ok(Some(picture))
        };
        let slow = Err(Refusal::Malformed("The picture came too slowly."));
        tokio::time::timeout(LIMIT, reading).await.unwrap_or(slow)
    }
}

async fn read(request: Request) -> Result<Call, Refusal> {
    let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().to_owned();
    let body = request.into_body();
    if media_type.to_ascii_lowercase().starts_with("multipart/form-data") {
        let boundary = multer::parse_boundary(&media_type).map_err(|_| Refusal::Malformed("There is no boundary."))?;
        return read_multipart(body, boundary).await;
    }
    let body = match Limited::new(body, MAX_TEXT).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(Refusal::TooLarge),
        Err(_) => return Err(Refusal::Malformed("The call broke off.")),
    };
    let mut texts = Texts::default();
    for (name, text) in url::form_urlencoded::parse(&body) {
        texts.insert(name.into_owned(), text.into_owned())?;
    }
    Ok(Call { texts, rest: None })
}

async fn read_multipart(body: Body, boundary: String) -> Result<Call, Refusal> {
    let whole = MAX_PICTURE + MAX_TEXT as u64 + MAX_OVERHEAD;
    let limits = Constraints::new().size_limit(SizeLimit::new().whole_stream(whole).per_field(MAX_PICTURE));
    let mut multipart = Multipart::with_constraints(body.into_data_stream(), boundary, limits);
    let mut texts = Texts::default();
    while let Some(field) = multipart.next_field().await.map_err(refusal_of)? {
        if field.file_name().is_some() {
            return Ok(Call { texts, rest: Some((field, multipart)) });
        }
        take_text(&mut texts, field).await?;
    }
    Ok(Call { texts, rest: None })
}

async fn take_text(texts: &mut Texts, mut field: Field<'_>) -> Result<(), Refusal> {
    let name = field.name().unwrap_or_default().to_owned();
    let mut text = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(refusal_of)? {
        text.extend_from_slice(&piece);
        if text.len() > MAX_TEXT {
            return Err(Refusal::TooLarge);
        }
    }
    texts.insert(name, String::from_utf8_lossy(&text).into_owned())
}

fn refusal_of(error: multer::Error) -> Refusal {
    match error {
        multer::Error::FieldSizeExceeded { .. } | multer::Error::StreamSizeExceeded { .. } => Refusal::TooLarge,
        _ => Refusal::Malformed("The form is malformed, or broke off."),
    }
}
