//! What an app asks of the portal.

use model::PrinterId;
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use url::form_urlencoded;

/// Long enough for every id in use; it is shown to people.
const MAX_APP_ID: usize = 64;
/// As documented.
const KEY_NAME_LENGTH: std::ops::RangeInclusive<usize> = 2..=60;

/// The portal's query, and the hidden fields of its forms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct PortalRequest {
    pub(super) app_id: String,
    pub(super) return_url: String,
    pub(super) printer_id: String,
    pub(super) logo_url: String,
    pub(super) key_name: String,
}

impl PortalRequest {
    /// Reads a query. Its keys have any case, because apps in the field differ; of a repeated key the first counts.
    pub(super) fn read(query: &str) -> Self {
        let mut request = Self::default();
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match key.to_ascii_lowercase().as_str() {
                "appid" => &mut request.app_id,
                "returnurl" => &mut request.return_url,
                "printerid" => &mut request.printer_id,
                "applogourl" => &mut request.logo_url,
                "octoprintapikeyappname" => &mut request.key_name,
                _ => continue,
            };
            if field.is_empty() {
                *field = value.into_owned();
            }
        }
        request
    }

    /// The portal's path with this request, for the way back from somewhere else.
    pub(super) fn path(&self) -> String {
        let pairs = [
            ("appId", &self.app_id),
            ("returnUrl", &self.return_url),
            ("printerId", &self.printer_id),
            ("appLogoUrl", &self.logo_url),
            ("octoPrintApiKeyAppName", &self.key_name),
        ];
        let mut path = "/appportal/v1".to_owned();
        for (key, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str(key);
            path.push('=');
            path.extend(utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC));
        }
        path
    }

    /// The same with another printer.
    pub(super) fn with_printer(&self, printer: &PrinterId) -> Self {
        Self { printer_id: printer.as_str().to_owned(), ..self.clone() }
    }

    /// Whether the app says who it is, in a way that can be shown.
    pub(super) fn has_app_id(&self) -> bool {
        let id = self.app_id.trim();
        !id.is_empty() && id.len() <= MAX_APP_ID && !id.chars().any(char::is_control)
    }

    /// The name for an OctoPrint key, if the app wants one. A bad name is as none: the portal never fails over it.
    pub(super) fn octoprint_key_name(&self) -> Option<&str> {
        let name = self.key_name.trim();
        let is_valid = KEY_NAME_LENGTH.contains(&name.chars().count()) && !name.chars().any(char::is_control);
        is_valid.then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_any_case_and_unknown_ones_are_ignored() {
        let expected = PortalRequest {
            app_id: "devtest".to_owned(),
            return_url: "someapp://octoeverywhere?a=b&c=ü".to_owned(),
            printer_id: "PRINTER".to_owned(),
            logo_url: String::new(),
            key_name: "My App".to_owned(),
        };
        let query = "AppID=devtest&RETURNURL=someapp%3A%2F%2Foctoeverywhere%3Fa%3Db%26c%3D%C3%BC&printerid=PRINTER\
                     &moonraker=true&authType=enhanced&octoprintapikeyappname=My+App&appid=other";
        assert_eq!(PortalRequest::read(query), expected);
    }

    #[test]
    fn everything_survives_the_way_to_the_sign_in_and_back() {
        let request =
            PortalRequest::read("appId=a%26b&returnUrl=https%3A%2F%2Fa.example%2F%3Fx%3D1%232&appLogoUrl=l&x=y");
        let path = request.path();
        let query = path.split_once('?').map(|(_, query)| query).expect("there is a query");
        assert_eq!(PortalRequest::read(query), request);
        assert!(path.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(PortalRequest::default().path(), "/appportal/v1");
    }

    #[test]
    fn names_for_keys_are_as_long_as_documented() {
        for (name, is_valid) in [
            ("", false),
            ("a", false),
            ("ab", true),
            (&"ä".repeat(60), true),
            (&"a".repeat(61), false),
            ("a\nb", false),
        ] {
            let request = PortalRequest { key_name: name.to_owned(), ..PortalRequest::default() };
            assert_eq!(request.octoprint_key_name().is_some(), is_valid, "{name:?}");
        }
    }
}
