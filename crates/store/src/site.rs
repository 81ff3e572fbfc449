//! The service's own address.

use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, EntityTrait};

use crate::entity::site;
use crate::error::{Attempt, StoreError};
use crate::records::SiteAddress;
use crate::store::Store;

impl Store {
    /// Where the service said it is reached; none before it first started.
    pub async fn site_address(&self) -> Result<Option<SiteAddress>, StoreError> {
        let row = site::Entity::find_by_id(site::ONLY_ID).one(&self.reader).await.attempt("read the site's address")?;
        Ok(row.map(|row| SiteAddress { scheme: row.scheme, domain: row.domain, printers_domain: row.printers_domain }))
    }

    /// Notes where the service is reached.
    pub async fn set_site_address(&self, address: &SiteAddress) -> Result<(), StoreError> {
        const ATTEMPTED: &str = "note the site's address";
        if self.site_address().await?.as_ref() == Some(address) {
            return Ok(());
        }
        let write = self.write(ATTEMPTED).await?;
        site::Entity::insert(site::ActiveModel {
            id: Set(site::ONLY_ID),
            scheme: Set(address.scheme.clone()),
            domain: Set(address.domain.clone()),
            printers_domain: Set(address.printers_domain.clone()),
        })
        .on_conflict(
            OnConflict::column(site::Column::Id)
                .update_columns([site::Column::Scheme, site::Column::Domain, site::Column::PrintersDomain])
                .to_owned(),
        )
        .exec_without_returning(&*write)
        .await
        .attempt(ATTEMPTED)?;
        write.commit().await
    }
}
