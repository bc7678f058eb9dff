//! The two kinds of source.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// One Secret, watched through the Kubernetes API.
    Api,
    /// The mounted directory.
    Volume,
}

impl SourceKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Volume => "volume",
        }
    }
}
