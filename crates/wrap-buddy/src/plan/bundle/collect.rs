//! What a bundle takes of the libraries that ld.so finds.

use std::ffi::OsString;
use std::sync::Arc;

use super::Selection;
use ldso::{Answer, Found, Opener, Policy, Request, SearchList, Walk};

/// Finds each name where ld.so finds it, except those that stay the host's.
pub(super) struct Collect<'c> {
    selection: &'c Selection,
    opener: Option<&'c Opener>,
    pub missing: Vec<OsString>,
    pub excluded: Vec<OsString>,
    pub ignored: Vec<OsString>,
}

impl<'c> Collect<'c> {
    pub fn new(selection: &'c Selection, opener: Option<&'c Opener>) -> Self {
        Self {
            selection,
            opener,
            missing: Vec::new(),
            excluded: Vec::new(),
            ignored: Vec::new(),
        }
    }
}

impl Policy for Collect<'_> {
    fn find(&mut self, walk: &Walk<'_>, request: &Request<'_>) -> Option<Answer> {
        let name = request.name;
        if self.selection.exclude.is_match(name) {
            self.excluded.push(name.to_owned());
            return None;
        }
        if self
            .opener
            .is_some_and(|opener| opener.names.contains(name))
        {
            return None;
        }
        let by = request.by;
        match walk
            .linker
            .find(name, request.dependent, &[request.search_list])
        {
            Ok(found) => return Some(Answer { found, by }),
            Err(_) if request.may_be_missing => {}
            Err(_) if self.selection.ignore_missing.is_match(name) => {
                self.ignored.push(name.to_owned())
            }
            Err(_) if self.missing.iter().any(|known| known == name) => {}
            Err(_) => self.missing.push(name.to_owned()),
        }
        None
    }

    fn search_list(&self, walk: &Walk<'_>, by: Option<usize>) -> Arc<SearchList> {
        match self.opener {
            None => walk.search_list(by),
            Some(opener) => walk.search_list_of_opened(by, &opener.search),
        }
    }

    fn follows(&self, _: &Found) -> bool {
        true
    }
}
