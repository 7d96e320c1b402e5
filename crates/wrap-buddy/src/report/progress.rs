//! A progress bar, on a terminal only. It appears when a run takes long and disappears before the report.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shorter runs show no bar.
const DELAY: Duration = Duration::from_millis(500);

/// Template for the walk through directories, when the number of files is unknown.
const WALKING: &str = "{spinner} looking for files, {pos} found";

/// Template for a known number of files.
const COUNTING: &str = "{msg} {bar:40} {pos} of {len} files";

#[derive(Debug)]
pub struct Progress {
    started: Instant,
    delay: Duration,
    target: fn() -> ProgressDrawTarget,
    /// Files found during the walk, then files processed.
    position: AtomicU64,
    files: OnceLock<u64>,
    /// Created on first use: most runs end before.
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    /// If standard error is not a terminal, the bar is never shown.
    pub fn new() -> Self {
        Self::on(ProgressDrawTarget::stderr, DELAY)
    }

    fn on(target: fn() -> ProgressDrawTarget, delay: Duration) -> Self {
        Self {
            started: Instant::now(),
            delay,
            target,
            position: AtomicU64::new(0),
            files: OnceLock::new(),
            bar: OnceLock::new(),
        }
    }

    /// Counts a file that the walk has found.
    pub fn found(&self) {
        self.step();
    }

    /// Ends the walk: there are `files` files to process.
    pub fn expect(&self, files: usize) {
        self.position.store(0, Ordering::Relaxed);
        let _ = self.files.set(files as u64);
        if let Some(bar) = self.bar.get() {
            self.update_style(bar);
        }
    }

    /// Counts a processed file.
    pub fn step(&self) {
        let position = self.position.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(bar) = self.shown() {
            bar.set_position(position);
        }
    }

    /// All files are planned; writing begins.
    pub fn writing(&self) {
        if let Some(bar) = self.shown() {
            bar.set_message("writing");
        }
    }

    /// The bar, if the delay has passed.
    fn shown(&self) -> Option<&ProgressBar> {
        if self.started.elapsed() < self.delay {
            return None;
        }
        Some(self.bar.get_or_init(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            self.update_style(&bar);
            bar.set_draw_target((self.target)());
            bar.tick();
            bar
        }))
    }

    fn update_style(&self, bar: &ProgressBar) {
        bar.set_position(self.position.load(Ordering::Relaxed));
        let template = match self.files.get() {
            None => WALKING,
            Some(&files) => {
                bar.set_length(files);
                bar.set_message("reading");
                COUNTING
            }
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use indicatif::TermLike;

    use super::*;

    static DRAWN: Mutex<String> = Mutex::new(String::new());

    #[derive(Debug)]
    struct Spy;

    impl Spy {
        fn add(text: &str) -> io::Result<()> {
            DRAWN.lock().unwrap().push_str(text);
            Ok(())
        }
    }

    impl TermLike for Spy {
        fn width(&self) -> u16 {
            80
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            Self::add(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            Self::add(text)
        }
        fn clear_line(&self) -> io::Result<()> {
            Self::add("<clear>")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn drawn() -> String {
        std::mem::take(&mut DRAWN.lock().unwrap())
    }

    #[test]
    fn the_bar_appears_after_a_delay_and_is_cleared() {
        let target = || ProgressDrawTarget::term_like(Box::new(Spy));
        let quick = Progress::on(target, Duration::from_secs(3600));
        quick.expect(3);
        quick.step();
        quick.writing();
        drop(quick);
        assert_eq!(drawn(), "");
        let slow = Progress::on(target, Duration::ZERO);
        slow.found();
        assert!(drawn().contains("looking for files, 1 found"));
        slow.expect(3);
        slow.step();
        assert!(drawn().contains("1 of 3 files"));
        slow.step();
        slow.writing();
        drop(slow);
        assert!(drawn().ends_with("<clear>"));
    }
}
