//! What a table's fields may be, and how each is verified, read and written.

use bytes::Bytes;
use flatbuffers::{
    FlatBufferBuilder, ForwardsUOffset, InvalidFlatbuffer, TableFinishedWIPOffset, TableVerifier, Vector, WIPOffset,
};
use model::Secret;

use super::record::{Record, Verified};
use super::table::{Slot, Table, vtable_offset};

/// The type of a field.
pub(super) trait Field: Sized {
    /// What of it has to be written before its table is begun.
    type Ahead;

    /// Has the verifier look at it.
    fn verify<'v, 'o, 'b>(
        table: TableVerifier<'v, 'o, 'b>,
        name: &'static str,
        slot: Slot,
    ) -> Result<TableVerifier<'v, 'o, 'b>, InvalidFlatbuffer>;

    /// Reads it; `default` if it is absent.
    fn read(table: &Table<'_>, slot: Slot, default: Self) -> Self;

    /// Writes what lies outside of the table.
    fn write_ahead(&self, builder: &mut FlatBufferBuilder<'_>) -> Self::Ahead;

    /// Writes what lies in the table, unless it is the default.
    fn write(&self, ahead: Self::Ahead, builder: &mut FlatBufferBuilder<'_>, slot: Slot, default: Self);
}

macro_rules! number_field {
    ($($type:ty),*) => {$(
        impl Field for $type {
            type Ahead = ();

            fn verify<'v, 'o, 'b>(
                table: TableVerifier<'v, 'o, 'b>,
                name: &'static str,
                slot: Slot,
            ) -> Result<TableVerifier<'v, 'o, 'b>, InvalidFlatbuffer> {
                table.visit_field::<Self>(name, vtable_offset(slot), false)
            }

            fn read(table: &Table<'_>, slot: Slot, default: Self) -> Self {
                table.number(slot).map_or(default, Self::from_le_bytes)
            }

            fn write_ahead(&self, _: &mut FlatBufferBuilder<'_>) {}

            fn write(&self, (): (), builder: &mut FlatBufferBuilder<'_>, slot: Slot, default: Self) {
                builder.push_slot(vtable_offset(slot), *self, default);
            }
        }
    )*};
}

number_field!(i8, u8, u16, u32, u64, i64);

impl Field for bool {
    type Ahead = ();

    fn verify<'v, 'o, 'b>(
        table: TableVerifier<'v, 'o, 'b>,
        name: &'static str,
        slot: Slot,
    ) -> Result<TableVerifier<'v, 'o, 'b>, InvalidFlatbuffer> {
        table.visit_field::<u8>(name, vtable_offset(slot), false)
    }

    fn read(table: &Table<'_>, slot: Slot, default: Self) -> Self {
        u8::read(table, slot, u8::from(default)) != 0
    }

    fn write_ahead(&self, _: &mut FlatBufferBuilder<'_>) {}

    fn write(&self, (): (), builder: &mut FlatBufferBuilder<'_>, slot: Slot, default: Self) {
        builder.push_slot(vtable_offset(slot), *self, default);
    }
}

macro_rules! kind_field {
    ($($type:ident),*) => {$(
        impl Field for super::kinds::$type {
            type Ahead = ();

            fn verify<'v, 'o, 'b>(
                table: TableVerifier<'v, 'o, 'b>,
                name: &'static str,
                slot: Slot,
            ) -> Result<TableVerifier<'v, 'o, 'b>, InvalidFlatbuffer> {
                i8::verify(table, name, slot)
            }

            fn read(table: &Table<'_>, slot: Slot, default: Self) -> Self {
                Self::from(i8::read(table, slot, default.into()))
            }

            fn write_ahead(&self, _: &mut FlatBufferBuilder<'_>) {}

            fn write(&self, (): (), builder: &mut FlatBufferBuilder<'_>, slot: Slot, default: Self) {
                i8::from(*self).write((), builder, slot, default.into());
            }
        }
    )*};
}

kind_field!(
    AuthAllowed,
    Compression,
    NotificationKind,
    Os,
    PathKind,
    Priority,
    ServerHost,
    SummonMethod,
    WebSocketKind
);

/// Fields that are an offset to what was written ahead, or are not there.
macro_rules! optional_field {
    ($type:ty, verified as $verified:ty, written as $written:ty, $read:expr, $write:expr) => {
        impl Field for Option<$type> {
            type Ahead = Option<WIPOffset<$written>>;

            fn verify<'v, 'o, 'b>(
                table: TableVerifier<'v, 'o, 'b>,
                name: &'static str,
                slot: Slot,
            ) -> Result<TableVerifier<'v, 'o, 'b>, InvalidFlatbuffer> {
                table.visit_field::<ForwardsUOffset<$verified>>(name, vtable_offset(slot), false)
            }

            fn read(table: &Table<'_>, slot: Slot, _: Self) -> Self {
                let read: fn(&Table<'_>, Slot) -> Self = $read;
                read(table, slot)
            }

            fn write_ahead(&self, builder: &mut FlatBufferBuilder<'_>) -> Self::Ahead {
                let write: fn(&mut FlatBufferBuilder<'_>, &$type) -> u32 = $write;
                self.as_ref().map(|value| WIPOffset::new(write(builder, value)))
            }

            fn write(&self, ahead: Self::Ahead, builder: &mut FlatBufferBuilder<'_>, slot: Slot, _: Self) {
                if let Some(offset) = ahead {
                    builder.push_slot_always(vtable_offset(slot), offset);
                }
            }
        }
    };
}

optional_field!(
    String,
    verified as &str,
    written as &'static str,
    |table, slot| table.text(slot).map(str::to_owned),
    |builder, text| builder.create_string(text).value()
);
optional_field!(
    Secret,
    verified as &str,
    written as &'static str,
    |table, slot| table.text(slot).map(Secret::new),
    |builder, secret| builder.create_string(secret.expose()).value()
);
optional_field!(
    Bytes,
    verified as Vector<'_, u8>,
    written as Vector<'static, u8>,
    |table, slot| table.bytes(slot),
    |builder, bytes| builder.create_vector(bytes.as_ref()).value()
);
optional_field!(
    Vec<String>,
    verified as Vector<'_, ForwardsUOffset<&str>>,
    written as Vector<'static, u8>,
    |table, slot| table.texts(slot),
    |builder, texts| {
        let offsets: Vec<_> =
            texts.iter().map(|text| WIPOffset::<&str>::new(builder.create_string(text).value())).collect();
        builder.create_vector(&offsets).value()
    }
);

/// Fields that are a table, or are not there.
macro_rules! record_field {
    ($type:ident) => {
        optional_field!(
            super::schema::$type,
            verified as Verified<super::schema::$type>,
            written as TableFinishedWIPOffset,
            |table, slot| table.table(slot).map(|table| Record::read(&table)),
            |builder, record| record.write(builder).value()
        );
    };
}

/// Fields that are a vector of tables, or are not there.
macro_rules! records_field {
    ($type:ident) => {
        optional_field!(
            Vec<super::schema::$type>,
            verified as Vector<'_, ForwardsUOffset<Verified<super::schema::$type>>>,
            written as Vector<'static, u8>,
            |table, slot| table.tables(slot, Record::read),
            |builder, records| {
                let offsets: Vec<_> = records.iter().map(|record| record.write(builder)).collect();
                builder.create_vector(&offsets).value()
            }
        );
    };
}

record_field!(HttpInitialContext);
records_field!(HttpHeader);
records_field!(Property);
