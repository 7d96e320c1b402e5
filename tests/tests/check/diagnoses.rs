//! Every diagnosis of `check`: its text, and that the proposed command helps.

use e2e::{Arch, Kind, Libc, Variant, matrix};
use wrap_buddy::commands::check::diagnosis::Diagnosis;

use crate::cases::{self, Case, Ending};
use crate::checking::{Checked, check, human};
use crate::surroundings;

matrix!(systems: proposed_command_repairs_the_tree);

const HOST: Variant = Variant::new(Arch::X86_64, Libc::Glibc, Kind::Pie);
const MUSL: Variant = Variant::new(Arch::X86_64, Libc::Musl, Kind::Pie);

fn checked(case: &Case) -> Checked {
    let arguments: Vec<&str> = case.arguments.iter().map(String::as_str).collect();
    check(&case.root, &case.path, &arguments)
}

/// The text and the names of the diagnoses for a tree with `diagnosis`.
fn said_of(diagnosis: Diagnosis) -> (String, Vec<String>) {
    if let Some(said) = surroundings::said_of(diagnosis) {
        return said;
    }
    let case = cases::of(diagnosis, HOST).or_else(|| cases::of(diagnosis, MUSL));
    let case = case.unwrap_or_else(|| panic!("nothing shows {diagnosis:?}"));
    let arguments: Vec<&str> = case.arguments.iter().map(String::as_str).collect();
    let text = human(&case.root, &case.path, &arguments);
    (text, checked(&case).diagnoses())
}

#[test]
fn text_of_each_diagnosis() {
    for &diagnosis in Diagnosis::all() {
        let (text, names) = said_of(diagnosis);
        let known = names.iter().any(|name| *name == diagnosis.name());
        assert!(known, "{diagnosis:?} is not among {names:?}: {text}");
        insta::assert_snapshot!(diagnosis.name(), text);
    }
}

fn proposed_command_repairs_the_tree(variant: Variant) {
    let mut typed = 0;
    for &diagnosis in Diagnosis::all() {
        let Some(case) = cases::of(diagnosis, variant) else {
            continue;
        };
        let before = checked(&case);
        let names = before.diagnoses();
        let known = names.iter().any(|name| *name == diagnosis.name());
        assert!(known, "{diagnosis:?} is not among {names:?}");
        match case.ending {
            Ending::NoCommand => assert_eq!(before.commands(), [""; 0], "{diagnosis:?}"),
            Ending::Prints(expected) => {
                before.repair(&case.root);
                let start = case.root.command(&case.path);
                let start = match case.user {
                    0 => start,
                    user => start.user(user),
                };
                let output = start.output().success();
                assert_eq!(output.stdout, expected, "{diagnosis:?}: {output}");
                checked(&case).is(&[]);
                typed += 1;
            }
        }
    }
    println!("{typed} typed");
    assert!(typed >= 9, "only {typed} had something to type");
}
