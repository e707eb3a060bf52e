//! Numbers that look drawn and are not: the same seed gives the same ones, for jitter, for searches and
//! for whatever else must not depend on the moment.

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
pub fn splitmix64(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
