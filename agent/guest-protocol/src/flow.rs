//! Credit: how much of a stream may be sent before its receiver has said that it took some.

/// Bytes of a stream that may be under way at first, and at most.
pub const WINDOW: u32 = 256 * 1024;

/// At the sender.
#[derive(Debug)]
pub struct SendCredit {
    left: u32,
}

/// At the receiver.
#[derive(Debug)]
pub struct ReceiveCredit {
    left: u32,
    taken: u32,
}

impl SendCredit {
    pub fn new() -> Self {
        Self { left: WINDOW }
    }

    pub fn left(&self) -> usize {
        self.left as usize
    }

    /// Uses up to `wanted` of it; gives how much.
    pub fn take(&mut self, wanted: usize) -> usize {
        let taken = self.left.min(u32::try_from(wanted).unwrap_or(u32::MAX));
        self.left -= taken;
        taken as usize
    }

    /// The receiver took some. `None` where that is more than it was ever sent.
    pub fn grant(&mut self, bytes: u32) -> Option<()> {
        self.left = self.left.checked_add(bytes).filter(|left| *left <= WINDOW)?;
        Some(())
    }
}

impl ReceiveCredit {
    pub fn new() -> Self {
        Self { left: WINDOW, taken: 0 }
    }

    /// Some came. `None` where that is more than was granted.
    pub fn receive(&mut self, bytes: usize) -> Option<()> {
        self.left = self.left.checked_sub(u32::try_from(bytes).ok()?)?;
        Some(())
    }

    /// Some was taken; gives what to grant now, which is nothing until it is worth a frame.
    pub fn consume(&mut self, bytes: usize) -> Option<u32> {
        let most = WINDOW - self.left;
        self.taken = self.taken.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX)).min(most);
        if self.taken < WINDOW / 4 {
            return None;
        }
        self.left += self.taken;
        Some(std::mem::take(&mut self.taken))
    }
}
