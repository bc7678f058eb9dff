//! The two entries of the MutatingWebhookConfiguration, and the paths at which API servers call them.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookPath {
    /// `/mutate/pods`: pods with the label.
    Pods,
    /// `/mutate/namespaces`: pods of namespaces with the label.
    Namespaces,
}

impl WebhookPath {
    pub const ALL: [Self; 2] = [Self::Pods, Self::Namespaces];

    pub fn parse(path: &str) -> Option<Self> {
        match path {
            "/mutate/pods" => Some(Self::Pods),
            "/mutate/namespaces" => Some(Self::Namespaces),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pods => "pods",
            Self::Namespaces => "namespaces",
        }
    }

    /// The label of the namespace, which the entry's namespaceSelector has matched.
    pub fn namespace_label(self) -> Option<&'static str> {
        (self == Self::Namespaces).then_some("enabled")
    }
}
