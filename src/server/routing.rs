//! A router that knows its routes, so that the description of the API can be compared with them.

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodRouter;

use super::routes::AppState;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    /// With names in braces.
    pub(super) path: String,
    /// In lower case.
    pub(super) methods: &'static [&'static str],
    /// Whether it is for people: a page, or a part of one.
    pub(super) is_page: bool,
}

/// The kind of a route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Served {
    methods: &'static [&'static str],
    is_page: bool,
}

/// A route for programs.
pub(super) const fn of(methods: &'static [&'static str]) -> Served {
    Served { methods, is_page: false }
}

/// A route for people.
pub(super) const fn page(methods: &'static [&'static str]) -> Served {
    Served { methods, is_page: true }
}

/// A router, and its routes.
#[derive(Default)]
pub(super) struct Routes {
    router: Router<Arc<AppState>>,
    routes: Vec<Route>,
}

impl Routes {
    pub(super) fn add(mut self, path: &str, served: Served, handler: MethodRouter<Arc<AppState>>) -> Self {
        self.router = self.router.route(path, handler);
        self.routes.push(Route { path: path.to_owned(), methods: served.methods, is_page: served.is_page });
        self
    }

    /// With what is not a route.
    pub(super) fn with(mut self, change: impl FnOnce(Router<Arc<AppState>>) -> Router<Arc<AppState>>) -> Self {
        self.router = change(self.router);
        self
    }

    pub(super) fn into_parts(self) -> (Router<Arc<AppState>>, Vec<Route>) {
        (self.router, self.routes)
    }
}
