//! SHA-256 of two blocks of 4096 bytes at once, as FIPS 180-4 has it, for processors with SHA instructions: each instruction
//! waits for the one before it, and a second stream fills the wait. fs-verity's tree is made of such blocks.
#![allow(unsafe_code)]

/// Bytes of a block of fs-verity's tree.
pub const BLOCK: usize = 4096;
/// A digest.
pub type Hash = [u8; 32];

/// Both digests; `None` where the processor has no such instructions.
#[must_use]
pub fn pair(one: &[u8; BLOCK], other: &[u8; BLOCK]) -> Option<[Hash; 2]> {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("sha")
        && std::is_x86_feature_detected!("sse4.1")
        && std::is_x86_feature_detected!("ssse3")
    {
        // SAFETY: the processor has what the function was compiled for.
        return Some(unsafe { x86::pair(one, other) });
    }
    let _ = (one, other);
    None
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_set_epi64x,
        _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi8,
        _mm_shuffle_epi32, _mm_storeu_si128,
    };

    use super::{BLOCK, Hash};

    const START: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];
    #[rustfmt::skip]
    const ROUNDS: [u32; 64] = [
        0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
        0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
        0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
        0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
        0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
        0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
        0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
        0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
    ];
    const PIECE: usize = 64;

    /// What follows a block: a bit, zeros, and how many bits the block has.
    const fn padding() -> [u8; PIECE] {
        let mut padding = [0; PIECE];
        padding[0] = 0x80;
        let bits = (BLOCK as u64 * 8).to_be_bytes();
        let mut at = 0;
        while at < 8 {
            padding[PIECE - 8 + at] = bits[at];
            at += 1;
        }
        padding
    }

    const PADDING: [u8; PIECE] = padding();

    /// The state in the order that the instructions want: ABEF and CDGH.
    #[derive(Clone, Copy)]
    struct State(__m128i, __m128i);

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    pub(super) fn pair(one: &[u8; BLOCK], other: &[u8; BLOCK]) -> [Hash; 2] {
        let mut states = [start(), start()];
        for (one, other) in one.as_chunks().0.iter().zip(other.as_chunks().0) {
            compress(&mut states, [one, other]);
        }
        compress(&mut states, [&PADDING, &PADDING]);
        [finish(states[0]), finish(states[1])]
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn start() -> State {
        let (low, high) = (words(&START, 0), words(&START, 4));
        let low = _mm_shuffle_epi32::<0xb1>(low);
        let high = _mm_shuffle_epi32::<0x1b>(high);
        State(_mm_alignr_epi8::<8>(low, high), _mm_blend_epi16::<0xf0>(high, low))
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn finish(State(abef, cdgh): State) -> Hash {
        let feba = _mm_shuffle_epi32::<0x1b>(abef);
        let dchg = _mm_shuffle_epi32::<0xb1>(cdgh);
        let halves = [_mm_blend_epi16::<0xf0>(feba, dchg), _mm_alignr_epi8::<8>(dchg, feba)];
        let mut hash = [0; 32];
        for (half, out) in halves.into_iter().zip(hash.as_chunks_mut::<16>().0) {
            // SAFETY: sixteen bytes are written to an array of sixteen bytes; no alignment is asked for.
            unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm_shuffle_epi8(half, big_endian())) };
        }
        hash
    }

    /// Swaps the bytes of each word.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn big_endian() -> __m128i {
        _mm_set_epi64x(0x0c0d_0e0f_0809_0a0b, 0x0405_0607_0001_0203)
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn words<const N: usize>(words: &[u32; N], at: usize) -> __m128i {
        let four: &[u32; 4] = words[at..].first_chunk().unwrap_or(&[0; 4]);
        // SAFETY: sixteen bytes are read from an array of sixteen bytes; no alignment is asked for.
        unsafe { _mm_loadu_si128(four.as_ptr().cast()) }
    }

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn message(piece: &[u8; PIECE]) -> [__m128i; 4] {
        let (quarters, _) = piece.as_chunks::<16>();
        let mut message = [_mm_set_epi64x(0, 0); 4];
        for (word, quarter) in message.iter_mut().zip(quarters) {
            // SAFETY: sixteen bytes are read from an array of sixteen bytes; no alignment is asked for.
            let loaded = unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) };
            *word = _mm_shuffle_epi8(loaded, big_endian());
        }
        message
    }

    /// One piece of each stream, four rounds of the one and then of the other in turn. Written out, so that all of it stays in
    /// registers: as a loop it was a tenth slower.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn compress(states: &mut [State; 2], pieces: [&[u8; PIECE]; 2]) {
        let [mut one, mut other] = *states;
        let [mut a0, mut a1, mut a2, mut a3] = message(pieces[0]);
        let [mut b0, mut b1, mut b2, mut b3] = message(pieces[1]);
        macro_rules! rounds {
            ($group:literal, $a:ident, $b:ident) => {
                let constants = words(&ROUNDS, $group * 4);
                one = four(one, _mm_add_epi32($a, constants));
                other = four(other, _mm_add_epi32($b, constants));
            };
        }
        macro_rules! sixteen {
            ($first:literal, $second:literal, $third:literal, $fourth:literal) => {
                a0 = schedule(a0, a1, a2, a3);
                b0 = schedule(b0, b1, b2, b3);
                rounds!($first, a0, b0);
                a1 = schedule(a1, a2, a3, a0);
                b1 = schedule(b1, b2, b3, b0);
                rounds!($second, a1, b1);
                a2 = schedule(a2, a3, a0, a1);
                b2 = schedule(b2, b3, b0, b1);
                rounds!($third, a2, b2);
                a3 = schedule(a3, a0, a1, a2);
                b3 = schedule(b3, b0, b1, b2);
                rounds!($fourth, a3, b3);
            };
        }
        rounds!(0, a0, b0);
        rounds!(1, a1, b1);
        rounds!(2, a2, b2);
        rounds!(3, a3, b3);
        sixteen!(4, 5, 6, 7);
        sixteen!(8, 9, 10, 11);
        sixteen!(12, 13, 14, 15);
        for (state, now) in states.iter_mut().zip([one, other]) {
            *state = State(_mm_add_epi32(state.0, now.0), _mm_add_epi32(state.1, now.1));
        }
    }

    /// Four rounds, with the words and constants already added.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn four(State(abef, cdgh): State, values: __m128i) -> State {
        let cdgh = _mm_sha256rnds2_epu32(cdgh, abef, values);
        let abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32::<0x0e>(values));
        State(abef, cdgh)
    }

    /// Four words of the schedule from the sixteen before them, the oldest first.
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn schedule(oldest: __m128i, older: __m128i, newer: __m128i, newest: __m128i) -> __m128i {
        let sum = _mm_add_epi32(_mm_sha256msg1_epu32(oldest, older), _mm_alignr_epi8::<4>(newest, newer));
        _mm_sha256msg2_epu32(sum, newest)
    }
}
