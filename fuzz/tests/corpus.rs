//! The kept cases of every fuzz target. Each is named by what it holds; what fuzzing found stands among them.

#[cfg(test)]
mod cases {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn corpus() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
    }

    fn names(directory: &Path) -> BTreeSet<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[track_caller]
    fn check(target: &str, least: usize) {
        let directory = corpus().join(target);
        let cases = names(&directory);
        assert!(cases.len() >= least, "{} cases of {target}", cases.len());
        let run = portcullis_fuzz::target(target).unwrap();
        for case in cases {
            // The harness says nothing of the case in which a target panics.
            println!("{target}/{case}");
            run(&fs::read(directory.join(&case)).unwrap());
        }
    }

    #[test]
    fn policies() {
        check("policy", 8);
    }

    #[test]
    fn configurations() {
        check("configuration", 8);
    }

    #[test]
    fn frames() {
        check("frames", 8);
    }

    #[test]
    fn events() {
        check("events", 4);
    }

    /// No corpus without a target, and no case with a name that only a machine would give.
    #[test]
    fn corpora_are_of_targets_and_named_by_case() {
        for target in names(&corpus()) {
            assert!(
                portcullis_fuzz::target(&target).is_some(),
                "{target}: no target"
            );
            for case in names(&corpus().join(target)) {
                let hash = case.len() == 40 && case.bytes().all(|it| it.is_ascii_hexdigit());
                assert!(!hash, "{case}: say what it is");
            }
        }
    }
}
