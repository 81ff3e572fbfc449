//! Whether the names that visitors come by lead to one place. DNS is asked, and nothing depends on its answer: a service
//! may well start before its records are there.
//!
//! A wildcard record that still leads to a machine which was given up is somebody else's by the next day, and with it
//! every address below the printers' domain: its new owner gets visitors, and the credentials of apps.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use model::Label;
use relay::Authority;
use thiserror::Error;

/// Resolvers give up after about as long; `config check` should not take longer than a person waits.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks for a name's addresses.
pub type Resolve<'a> = &'a (dyn Fn(String) -> Addresses + Send + Sync);
/// The answer to come.
pub type Addresses = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// What an operator should look at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameWarning {
    /// A name leads nowhere.
    #[error("`{name}` leads nowhere ({problem}); {consequence}")]
    Nowhere {
        /// The name, `*.` for all below one.
        name: String,
        /// What the resolver said.
        problem: String,
        /// What does not work without it.
        consequence: &'static str,
    },
    /// A name leads to where the site is not.
    #[error(
        "`{name}` leads to {}, where `{domain}` does not: whoever is there gets your visitors, and what apps send. Unless \
         you know that machine, correct or delete the record",
        list(addresses)
    )]
    Elsewhere {
        /// The name, `*.` for all below one.
        name: String,
        /// Where it leads besides.
        addresses: BTreeSet<IpAddr>,
        /// The site's name.
        domain: String,
    },
}

fn list(addresses: &BTreeSet<IpAddr>) -> String {
    addresses.iter().map(IpAddr::to_string).collect::<Vec<String>>().join(", ")
}

/// Asks the system's resolver.
pub fn system_resolver(name: String) -> Addresses {
    Box::pin(async move {
        let found = tokio::net::lookup_host((name, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    })
}

/// Compares where the site's name and names below the printers' domain lead. Names that never leave this machine are
/// not looked at.
pub async fn check(domain: &Authority, printers_domain: &Authority, resolve: Resolve<'_>) -> Vec<NameWarning> {
    check_within(LIMIT, domain, printers_domain, resolve).await
}

async fn check_within(
    limit: Duration,
    domain: &Authority,
    printers_domain: &Authority,
    resolve: Resolve<'_>,
) -> Vec<NameWarning> {
    let (site, printers) = (domain.host(), printers_domain.host());
    if [site, printers].iter().any(|name| is_local(name)) {
        return Vec::new();
    }
    // A label that nobody has, so that only a wildcard can answer.
    let random = format!("shared-{}.{printers}", Label::generate());
    let (of_site, of_label, of_printers) =
        tokio::join!(ask(limit, resolve, site), ask(limit, resolve, &random), ask(limit, resolve, printers));
    let wildcard = format!("*.{printers}");
    let mut warnings = Vec::new();
    let mut nowhere = |name: &str, problem, consequence| {
        warnings.push(NameWarning::Nowhere { name: name.to_owned(), problem, consequence });
    };
    if let Err(problem) = &of_label {
        nowhere(&wildcard, problem.clone(), "without a wildcard record no printer can be reached");
    }
    let of_site = match of_site {
        Ok(addresses) => addresses,
        Err(problem) => {
            nowhere(site, problem, "neither people nor agents find the service");
            return warnings;
        }
    };
    // The printers' domain itself needs no record. If it has one, its pages are same-site with the printers'.
    for (name, addresses) in [(wildcard.as_str(), of_label), (printers, of_printers)] {
        let addresses: BTreeSet<IpAddr> = addresses.unwrap_or_default().difference(&of_site).copied().collect();
        if !addresses.is_empty() {
            warnings.push(NameWarning::Elsewhere { name: name.to_owned(), addresses, domain: site.to_owned() });
        }
    }
    warnings
}

async fn ask(limit: Duration, resolve: Resolve<'_>, name: &str) -> Result<BTreeSet<IpAddr>, String> {
    match tokio::time::timeout(limit, resolve(name.to_owned())).await {
        Ok(Ok(addresses)) if addresses.is_empty() => Err("it has no address".to_owned()),
        Ok(Ok(addresses)) => Ok(addresses.into_iter().map(|address| address.to_canonical()).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

fn is_local(name: &str) -> bool {
    let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    is_address || name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    /// What DNS says: by name, `*.` for everything below one.
    type Zone = &'static [(&'static str, &'static [&'static str])];

    async fn warnings(domain: &str, printers: &str, zone: Zone) -> Vec<String> {
        let resolve = move |name: String| -> Addresses {
            let below = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
            let found = zone
                .iter()
                .find(|(known, _)| *known == name)
                .or_else(|| zone.iter().find(|(known, _)| below.as_deref() == Some(known)));
            let addresses = found.map(|(_, addresses)| addresses.iter().map(|text| text.parse().unwrap()).collect());
            Box::pin(async move { addresses.ok_or_else(|| io::Error::other("no such name")) })
        };
        let found = check(&domain.parse().unwrap(), &printers.parse().unwrap(), &resolve).await;
        found.iter().map(NameWarning::to_string).collect()
    }

    #[tokio::test]
    async fn names_that_agree_are_no_matter() {
        let together: Zone = &[("d.example", &["192.0.2.1", "2001:db8::1"]), ("*.d.example", &["::ffff:192.0.2.1"])];
        assert_eq!(warnings("d.example", "d.example", together).await, [""; 0]);
        let apart: Zone = &[("d.example", &["192.0.2.1"]), ("*.p.example", &["192.0.2.1"])];
        assert_eq!(warnings("d.example:8443", "p.example", apart).await, [""; 0]);
    }

    #[tokio::test]
    async fn foreign_answers_are_told() {
        let dangling: Zone = &[("d.example", &["192.0.2.1"]), ("*.d.example", &["192.0.2.1", "198.51.100.7"])];
        let told = warnings("d.example", "d.example", dangling).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("`*.d.example` leads to 198.51.100.7, where `d.example` does not"), "{told:?}");
        let apex: Zone =
            &[("d.example", &["192.0.2.1"]), ("*.p.example", &["192.0.2.1"]), ("p.example", &["198.51.100.7"])];
        let told = warnings("d.example", "p.example", apex).await;
        assert!(told.len() == 1 && told[0].starts_with("`p.example` leads to 198.51.100.7"), "{told:?}");
    }

    #[tokio::test]
    async fn missing_names_are_told() {
        let told = warnings("d.example", "d.example", &[("d.example", &["192.0.2.1"])]).await;
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("`*.d.example` leads nowhere (no such name)"), "{told:?}");
        let told = warnings("d.example", "p.example", &[]).await;
        assert_eq!(told.len(), 2, "{told:?}");
        let empty: Zone = &[("d.example", &[]), ("*.d.example", &["192.0.2.1"])];
        let told = warnings("d.example", "d.example", empty).await;
        assert!(told.len() == 1 && told[0].starts_with("`d.example` leads nowhere (it has no address)"), "{told:?}");
    }

    #[tokio::test]
    async fn nobody_is_asked_about_this_machine() {
        let refuse = |name: String| -> Addresses { panic!("asked about {name}") };
        for (domain, printers) in
            [("localhost:8080", "localhost:8080"), ("d.localhost", "p.localhost"), ("127.0.0.1:80", "d.example")]
        {
            assert_eq!(check(&domain.parse().unwrap(), &printers.parse().unwrap(), &refuse).await, []);
        }
    }

    #[tokio::test]
    async fn a_silent_resolver_is_not_waited_for() {
        let silent = |_: String| -> Addresses { Box::pin(std::future::pending()) };
        let domain: Authority = "d.example".parse().unwrap();
        let found = check_within(Duration::from_millis(10), &domain, &domain, &silent).await;
        assert!(found.iter().all(|warning| warning.to_string().contains("no answer in time")), "{found:?}");
        assert_eq!(found.len(), 2);
    }
}
