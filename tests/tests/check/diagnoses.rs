//! Everything that `check` can say: how it says it, and that what it says to type helps.

use e2e::{Arch, Kind, Libc, Variant, matrix};
use wrap_buddy::commands::check::diagnosis::Diagnosis;

use crate::checking::{Checked, check, human};
use crate::scenes::{self, Ending, Scene};
use crate::surroundings;

matrix!(systems: what_is_said_to_type_helps);

const HOST: Variant = Variant::new(Arch::X86_64, Libc::Glibc, Kind::Pie);
const MUSL: Variant = Variant::new(Arch::X86_64, Libc::Musl, Kind::Pie);

fn checked(scene: &Scene) -> Checked {
    let arguments: Vec<&str> = scene.arguments.iter().map(String::as_str).collect();
    check(&scene.root, &scene.path, &arguments)
}

/// What is said of a tree that shows `diagnosis`, by people's and by programs' names.
fn said_of(diagnosis: Diagnosis) -> (String, Vec<String>) {
    if let Some(said) = surroundings::said_of(diagnosis) {
        return said;
    }
    let scene = scenes::of(diagnosis, HOST).or_else(|| scenes::of(diagnosis, MUSL));
    let scene = scene.unwrap_or_else(|| panic!("nothing shows {diagnosis:?}"));
    let arguments: Vec<&str> = scene.arguments.iter().map(String::as_str).collect();
    let text = human(&scene.root, &scene.path, &arguments);
    (text, checked(&scene).diagnoses())
}

#[test]
fn each_in_words() {
    for &diagnosis in Diagnosis::all() {
        let (text, names) = said_of(diagnosis);
        let known = names.iter().any(|name| *name == diagnosis.name());
        assert!(known, "{diagnosis:?} is not among {names:?}: {text}");
        insta::assert_snapshot!(diagnosis.name(), text);
    }
}

fn what_is_said_to_type_helps(variant: Variant) {
    let mut typed = 0;
    for &diagnosis in Diagnosis::all() {
        let Some(scene) = scenes::of(diagnosis, variant) else {
            continue;
        };
        let before = checked(&scene);
        let names = before.diagnoses();
        let known = names.iter().any(|name| *name == diagnosis.name());
        assert!(known, "{diagnosis:?} is not among {names:?}");
        match scene.ending {
            Ending::NoCommand => assert_eq!(before.commands(), [""; 0], "{diagnosis:?}"),
            Ending::Prints(expected) => {
                before.repair(&scene.root);
                let start = scene.root.command(&scene.path);
                let start = match scene.user {
                    0 => start,
                    user => start.user(user),
                };
                let output = start.output().success();
                assert_eq!(output.stdout, expected, "{diagnosis:?}: {output}");
                checked(&scene).is(&[]);
                typed += 1;
            }
        }
    }
    println!("{typed} typed");
    assert!(typed >= 9, "only {typed} had something to type");
}
