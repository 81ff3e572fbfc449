//! Tables as lists of their fields.

use std::marker::PhantomData;

use flatbuffers::{FlatBufferBuilder, InvalidFlatbuffer, TableFinishedWIPOffset, Verifiable, Verifier, WIPOffset};

use super::table::Table;

/// A table.
pub(super) trait Record: Sized {
    /// Has the verifier look at every field that is known.
    fn verify(verifier: &mut Verifier<'_, '_>, position: usize) -> Result<(), InvalidFlatbuffer>;

    /// Reads all fields.
    fn read(table: &Table<'_>) -> Self;

    /// Writes the fields that are not at their default.
    fn write(&self, builder: &mut FlatBufferBuilder<'_>) -> WIPOffset<TableFinishedWIPOffset>;
}

/// Lets the stock verifier follow offsets to a table of ours.
pub(super) struct Verified<T>(PhantomData<T>);

impl<T: Record> Verifiable for Verified<T> {
    fn run_verifier(verifier: &mut Verifier<'_, '_>, position: usize) -> Result<(), InvalidFlatbuffer> {
        T::verify(verifier, position)
    }
}

/// A table with the slot, the type and the default of each field.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $slot:literal $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $crate::wire::record::Record for $name {
            fn verify(
                verifier: &mut flatbuffers::Verifier<'_, '_>,
                position: usize,
            ) -> Result<(), flatbuffers::InvalidFlatbuffer> {
                use $crate::wire::field::Field;
                let table = verifier.visit_table(position)?;
                $(let table = <$type as Field>::verify(table, stringify!($field), $slot)?;)*
                table.finish();
                Ok(())
            }

            fn read(table: &$crate::wire::table::Table<'_>) -> Self {
                use $crate::wire::field::Field;
                Self { $($field: <$type as Field>::read(table, $slot, $default),)* }
            }

            fn write(
                &self,
                builder: &mut flatbuffers::FlatBufferBuilder<'_>,
            ) -> flatbuffers::WIPOffset<flatbuffers::TableFinishedWIPOffset> {
                use $crate::wire::field::Field;
                $(let $field = self.$field.write_ahead(builder);)*
                let table = builder.start_table();
                $(self.$field.write($field, builder, $slot, $default);)*
                builder.end_table(table)
            }
        }
    };
}

pub(super) use record;
