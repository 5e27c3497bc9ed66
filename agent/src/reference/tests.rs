use super::flow::{ACK, FIN, RST, SYN, URG, is_sent_by_stacks};

#[test]
fn flags_that_stacks_send() {
    for (flags, expected) in [
        (SYN, true),
        (SYN | URG, true),
        (SYN | ACK, true),
        (SYN | ACK | URG, false),
        (SYN | FIN, false),
        (SYN | RST, false),
        (RST, true),
        (RST | ACK, true),
        (RST | FIN | ACK, false),
        (FIN, false),
        (FIN | ACK, true),
        (FIN | ACK | URG, true),
        (ACK, true),
        (URG, false),
        (0, false),
        (ACK | 8, true),
    ] {
        assert_eq!(is_sent_by_stacks(flags), expected, "{flags:#x}");
    }
}
