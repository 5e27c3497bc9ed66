//! What the programs cost the verifier of the kernel that runs here; `cargo xtask kernels --load` holds the others to the same.

use aya::EbpfLoader;
use aya::programs::Program;
use portcullis::dataplane::object::BPF_OBJECT;
use portcullis_tests::verified::Counter;

/// Instructions that the verifier may walk through in one program.
const MOST: u64 = 250_000;

#[test]
fn no_program_takes_the_verifier_too_far() {
    let counter = Counter::new(BPF_OBJECT).unwrap();
    let mut object = EbpfLoader::new().load(BPF_OBJECT).unwrap();
    let mut seen = 0;
    for (name, program) in object.programs_mut() {
        match program {
            Program::Xdp(program) => program.load().unwrap(),
            Program::SchedClassifier(program) => program.load().unwrap(),
            other => panic!("{name} is {other:?}"),
        }
        let walked = counter.instructions(name).unwrap();
        let said = program.info().unwrap().verified_instruction_count();
        assert_eq!(said.map(u64::from), Some(walked), "{name}");
        assert!(walked <= MOST, "{name}: {walked} verified instructions");
        seen += 1;
    }
    assert!(seen > 8, "{seen} programs");
}
