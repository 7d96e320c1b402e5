//! `wrap-buddy bundle`: programs with everything that they need, in roots that have nothing else.

mod adding;
mod archives;
mod contents;
mod debian;
mod frameworks;
mod launchers;
mod other_root;
mod place;
mod refusals;
mod runnable;
mod small;
mod store;
