//! The kinds of source.

/// A kind of source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceKind {
    /// One Secret, watched through the Kubernetes API.
    Api,
    /// The mounted directory.
    Volume,
    /// The program itself.
    Manual,
}

impl SourceKind {
    /// As logs and metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Volume => "volume",
            Self::Manual => "manual",
        }
    }
}
