//! How large a value is expected to be.

/// What a reader knows of the size of a value before it reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpectedSize {
    /// Nothing.
    #[default]
    Unknown,
    /// It takes so long to send that others should not wait behind it: on Redis it is read by a connection that only such
    /// values are read by.
    Large,
}
