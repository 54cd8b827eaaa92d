//! The kernel itself, out of the compressed image that distributions ship: under emulation its own unpacking costs more than
//! a second of every boot.

/// Why an image gives no kernel. QEMU boots the image as it is, then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// Something else.
    #[error("this is no Linux kernel for x86")]
    NoKernel,
    /// Packed in another way than LZ4.
    #[error("the kernel is packed in a way that is not known here (it begins with {0:02x?})")]
    Packing([u8; 4]),
    /// Cut short, or changed.
    #[error("the kernel is damaged")]
    Damaged,
}

const LZ4: [u8; 4] = [0x02, 0x21, 0x4C, 0x18];

/// Of one block, unpacked.
const BLOCK: usize = 8 << 20;

/// No kernel is larger.
const LARGEST: usize = 1 << 30;

/// The ELF file in an image.
///
/// # Errors
/// Where there is none that can be had.
pub fn extract(image: &[u8]) -> Result<Vec<u8>, KernelError> {
    let payload = payload(image).ok_or(KernelError::NoKernel)?;
    let (packed, size) = payload.split_last_chunk::<4>().ok_or(KernelError::Damaged)?;
    let size = number(*size);
    let (magic, blocks) = packed.split_first_chunk::<4>().ok_or(KernelError::Damaged)?;
    if *magic != LZ4 {
        return Err(KernelError::Packing(*magic));
    }
    let kernel = unpack(blocks, size).filter(|kernel| kernel.len() == size).ok_or(KernelError::Damaged)?;
    if kernel.starts_with(b"\x7fELF") { Ok(kernel) } else { Err(KernelError::Damaged) }
}

/// By the boot protocol's header: where the real-mode part ends, and where in the rest the packed kernel lies.
fn payload(image: &[u8]) -> Option<&[u8]> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let field = |at: usize| image.get(at..)?.first_chunk::<4>().map(|bytes| number(*bytes));
    let sectors = match *image.get(0x1F1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1).checked_mul(512)?.checked_add(field(0x248)?)?;
    image.get(start..start.checked_add(field(0x24C)?)?)
}

fn number(bytes: [u8; 4]) -> usize {
    usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX)
}

fn unpack(mut blocks: &[u8], size: usize) -> Option<Vec<u8>> {
    let mut kernel = Vec::with_capacity(Some(size).filter(|size| *size <= LARGEST)?);
    while let Some((length, rest)) = blocks.split_first_chunk::<4>() {
        let (block, rest) = rest.split_at_checked(number(*length))?;
        // Known from its own bound: a damaged block never makes more than that.
        let room = BLOCK.min(size.checked_sub(kernel.len())?);
        kernel.extend_from_slice(&lz4_flex::block::decompress(block, room).ok()?);
        blocks = rest;
    }
    blocks.is_empty().then_some(kernel)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// What distributions ship, of a kernel.
    pub(crate) fn image(kernel: &[u8]) -> Vec<u8> {
        sized(kernel, kernel.len())
    }

    fn sized(kernel: &[u8], size: usize) -> Vec<u8> {
        let block = lz4_flex::block::compress(kernel);
        let number = |value: usize| u32::try_from(value).unwrap().to_le_bytes();
        let payload = [&LZ4[..], &number(block.len()), &block, &number(size)].concat();
        let mut image = vec![0; 1024];
        image[0x1F1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24C].copy_from_slice(&number(16));
        image[0x24C..0x250].copy_from_slice(&number(payload.len()));
        image.extend([0; 16]);
        image.extend(payload);
        image
    }

    #[test]
    fn what_was_packed_comes_out_and_damage_is_noticed() {
        let kernel = [&b"\x7fELF"[..], &[7; 3000]].concat();
        let whole = image(&kernel);
        assert_eq!(extract(&whole).unwrap(), kernel);
        assert_eq!(extract(&sized(&kernel, 20)), Err(KernelError::Damaged));
        assert_eq!(extract(&sized(&kernel, usize::try_from(u32::MAX).unwrap())), Err(KernelError::Damaged));
        assert_eq!(extract(&whole[..whole.len() - 1]), Err(KernelError::NoKernel));
        assert_eq!(extract(b"MZ"), Err(KernelError::NoKernel));
        let mut other = whole;
        other[1024 + 16] = 0x1F;
        assert!(matches!(extract(&other), Err(KernelError::Packing([0x1F, ..]))));
    }
}
