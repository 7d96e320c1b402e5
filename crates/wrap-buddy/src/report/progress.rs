//! A bar for those who wait: on a terminal only, after a while, and gone when there is something to read.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What takes less is over before anybody wonders.
const DELAY: Duration = Duration::from_millis(500);

/// While directories are walked it is not known how much there is.
const WALKING: &str = "{spinner} looking for files, {pos} met";

/// Of that many files.
const COUNTING: &str = "{msg} {bar:40} {pos} of {len} files";

/// How far a run has come.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    delay: Duration,
    target: fn() -> ProgressDrawTarget,
    /// Files met, or looked at once it is known how many there are.
    position: AtomicU64,
    files: OnceLock<u64>,
    /// Made when it is shown, which most runs do not live to see.
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    /// Nothing is shown yet; where standard error is no terminal, nothing ever is.
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

    /// One more was met.
    pub fn met(&self) {
        self.step();
    }

    /// All were met, and there are that many files to look at.
    pub fn expect(&self, files: usize) {
        self.position.store(0, Ordering::Relaxed);
        let _ = self.files.set(files as u64);
        if let Some(bar) = self.bar.get() {
            self.dress(bar);
        }
    }

    /// One more is done.
    pub fn step(&self) {
        let position = self.position.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(bar) = self.shown() {
            bar.set_position(position);
        }
    }

    /// All are done, and are written now.
    pub fn write(&self) {
        if let Some(bar) = self.shown() {
            bar.set_message("writing");
        }
    }

    /// The bar, once it is time for it.
    fn shown(&self) -> Option<&ProgressBar> {
        if self.started.elapsed() < self.delay {
            return None;
        }
        Some(self.bar.get_or_init(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            self.dress(&bar);
            bar.set_draw_target((self.target)());
            bar.tick();
            bar
        }))
    }

    /// Has `bar` say what is going on.
    fn dress(&self, bar: &ProgressBar) {
        bar.set_position(self.position.load(Ordering::Relaxed));
        let template = match self.files.get() {
            None => WALKING,
            Some(&files) => {
                bar.set_length(files);
                bar.set_message("looking at");
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
    fn it_comes_after_a_while_and_goes_without_a_trace() {
        let target = || ProgressDrawTarget::term_like(Box::new(Spy));
        let quick = Progress::on(target, Duration::from_secs(3600));
        quick.expect(3);
        quick.step();
        quick.write();
        drop(quick);
        assert_eq!(drawn(), "");
        let slow = Progress::on(target, Duration::ZERO);
        slow.met();
        assert!(drawn().contains("looking for files, 1 met"));
        slow.expect(3);
        slow.step();
        assert!(drawn().contains("1 of 3 files"));
        slow.step();
        slow.write();
        drop(slow);
        assert!(drawn().ends_with("<clear>"));
    }
}
