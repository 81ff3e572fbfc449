//! The protocol's enumerations (tunnel.md 3.1), each of which may hold values that we do not know: newer plugins
//! have some already.

macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident default $default:ident { $($(#[$variant_doc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
            /// A value that this version does not know.
            Unknown(i8),
        }

        impl From<i8> for $name {
            fn from(value: i8) -> Self {
                match value {
                    $($value => Self::$variant,)*
                    unknown => Self::Unknown(unknown),
                }
            }
        }

        impl From<$name> for i8 {
            fn from(kind: $name) -> Self {
                match kind {
                    $($name::$variant => $value,)*
                    $name::Unknown(value) => value,
                }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::$default
            }
        }
    };
}

open_enum! {
    /// How a payload is compressed.
    Compression default None {
        /// Not at all.
        None = 0,
        /// Reserved; no plugin speaks it.
        Brotli = 1,
        /// RFC 1950, each message by itself.
        Zlib = 2,
        /// RFC 8878, with a dictionary and a context for each stream and direction.
        Zstandard = 3,
    }
}

open_enum! {
    /// What a request's path is.
    PathKind default Relative {
        /// Nothing that the plugin takes.
        None = 0,
        /// A path and query on the printer.
        Relative = 1,
        /// A URL, which the plugin fetches whatever it names.
        Absolute = 2,
    }
}

open_enum! {
    /// What a WebSocket message is.
    WebSocketKind default None {
        /// Text.
        Text = 1,
        /// Binary.
        Binary = 2,
        /// The body of a close frame; only towards the plugin.
        Close = 8,
        /// No WebSocket message.
        None = 126,
    }
}

open_enum! {
    /// Whether the plugin puts its own key to the printer's software into a request.
    AuthAllowed default Deny {
        /// It does not.
        Deny = 0,
        /// It does, with the rights of an administrator.
        Allow = 1,
    }
}

open_enum! {
    /// How a notification looks.
    NotificationKind default Notice {
        /// A notice.
        Notice = 0,
        /// An information.
        Info = 1,
        /// Good news.
        Success = 2,
        /// Bad news.
        Error = 3,
    }
}

open_enum! {
    /// How urgent a stream is, a hint that today's plugins ignore.
    Priority default Normal {
        /// First of all.
        Critical = 1,
        /// Before others.
        High = 5,
        /// Like most.
        Normal = 10,
        /// After others.
        Low = 15,
        /// Last of all.
        Background = 20,
    }
}

open_enum! {
    /// What a session was made for.
    SummonMethod default NotSaid {
        /// A primary session, or nothing was said.
        NotSaid = 1,
        /// The service knew whom to summon.
        FastPath = 2,
        /// The service summoned all around.
        Broadcast = 3,
    }
}

open_enum! {
    /// The plugin's flavour: which software it stands beside.
    ServerHost default NotSaid {
        /// Nothing was said.
        NotSaid = 0,
        /// OctoPrint.
        OctoPrint = 1,
        /// Moonraker.
        Moonraker = 2,
        /// Bambu Lab printers.
        Bambu = 3,
        /// Elegoo printers.
        Elegoo = 4,
        /// Elegoo's Centauri Carbon 2.
        Elegoo2 = 5,
        /// PrusaLink.
        PrusaLink = 6,
    }
}

open_enum! {
    /// What the plugin runs on.
    Os default NotSaid {
        /// Nothing was said.
        NotSaid = 0,
        /// Debian, or anything else.
        Debian = 1,
        /// Windows.
        Windows = 2,
        /// Creality's Sonic Pad.
        CrealitySonicPad = 3,
        /// Creality's K1.
        CrealityK1 = 4,
        /// Creality's K2.
        CrealityK2 = 5,
    }
}

impl ServerHost {
    /// Whether the plugin passes MQTT on to such printers (command-api.md 3).
    pub fn has_mqtt(self) -> bool {
        matches!(self, Self::Bambu | Self::Elegoo2)
    }
}
