//! The problems that were logged and are still there: each is logged when it begins and when it changes, rather than in
//! every round, and again when it comes back.

use std::collections::BTreeMap;

/// By problem, the last message.
#[derive(Debug, Default)]
pub struct ProblemLog(BTreeMap<String, String>);

impl ProblemLog {
    /// Whether this has not been logged yet. It counts as logged from now on.
    pub fn is_news(&mut self, problem: &str, message: &str) -> bool {
        let is_news = self.0.get(problem).is_none_or(|logged| logged != message);
        if is_news {
            self.0.insert(problem.to_owned(), message.to_owned());
        }
        is_news
    }

    /// Forgets the problems that are over.
    pub fn retain(&mut self, exists: impl Fn(&str) -> bool) {
        self.0.retain(|problem, _| exists(problem));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_news_once_and_again_when_it_comes_back() {
        let mut log = ProblemLog::default();
        assert!(log.is_news("shop/payments", "no room") && !log.is_news("shop/payments", "no room"));
        assert!(log.is_news("shop/payments", "forbidden") && log.is_news("shop/billing", "no room"));
        log.retain(|problem| problem == "shop/payments");
        assert!(!log.is_news("shop/payments", "forbidden") && log.is_news("shop/billing", "no room"));
    }
}
