//! The arguments of one `redis.call`. Their buffers are kept from call to call, so that the usual call allocates nothing.

/// Arguments that are being collected: strings of the VM as they are, and numbers as text in a buffer.
#[derive(Default)]
pub(in crate::lua) struct Arguments<'a> {
    values: Vec<&'a [u8]>,
    digits: Vec<u8>,
    /// For each number its place among the values, and where its text starts.
    numbers: Vec<(usize, usize)>,
}

impl<'a> Arguments<'a> {
    pub fn len(&self) -> usize {
        self.values.len()
    }

    pub fn push(&mut self, value: &'a [u8]) {
        self.values.push(value);
    }

    /// Adds the argument that `write` appends to a buffer.
    pub fn push_written(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.numbers.push((self.values.len(), self.digits.len()));
        self.values.push(&[]);
        write(&mut self.digits);
    }

    /// The bytes of all arguments.
    pub fn bytes(&self) -> usize {
        self.values.iter().map(|value| value.len()).fold(self.digits.len(), usize::saturating_add)
    }

    /// All arguments, complete.
    pub fn finish(mut self) -> Argv<'a> {
        let mut end = self.digits.len();
        for (index, start) in self.numbers.drain(..).rev() {
            let text: *const [u8] = self.digits.get(start..end).unwrap_or_default();
            if let Some(value) = self.values.get_mut(index) {
                // SAFETY: an `Argv` never changes its `digits`, and drops or empties `values` with them; it hands out the slices
                // only as long as it is borrowed.
                *value = unsafe { &*text };
            }
            end = start;
        }
        Argv(self)
    }

    /// The buffers without their contents. A buffer that has become large is freed.
    pub fn recycle(mut self) -> Arguments<'static> {
        const KEPT: usize = 1024;
        if self.values.capacity() > KEPT {
            return Arguments::default();
        }
        self.values.clear();
        self.numbers.clear();
        self.digits.clear();
        // Of no values none is borrowed. The standard library collects this into the same memory.
        let values = self.values.into_iter().map(|_| &[][..]).collect();
        Arguments { values, digits: self.digits, numbers: self.numbers }
    }
}

/// A complete list of arguments.
pub(in crate::lua) struct Argv<'a>(Arguments<'a>);

impl<'a> Argv<'a> {
    pub fn values(&self) -> &[&[u8]] {
        &self.0.values
    }

    /// The buffers without their contents.
    pub fn recycle(self) -> Arguments<'static> {
        self.0.recycle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_where_they_were_added_and_buffers_are_used_again() {
        let mut arguments = Arguments::default();
        arguments.push(b"SET");
        arguments.push_written(|digits| digits.extend_from_slice(b"12"));
        arguments.push_written(|_| {});
        arguments.push_written(|digits| digits.extend_from_slice(b"345"));
        arguments.push(b"NX");
        assert_eq!((arguments.len(), arguments.bytes()), (5, 10));
        let argv = arguments.finish();
        assert_eq!(argv.values(), [&b"SET"[..], b"12", b"", b"345", b"NX"]);
        let memory = argv.values().as_ptr().addr();
        let mut arguments = argv.recycle();
        assert_eq!((arguments.len(), arguments.bytes()), (0, 0));
        arguments.push(b"GET");
        let argv = arguments.finish();
        assert_eq!((argv.values(), argv.values().as_ptr().addr()), (&[&b"GET"[..]][..], memory));
        let mut many = Arguments::default();
        (0..2000).for_each(|_| many.push(b"x"));
        assert_eq!(many.recycle().values.capacity(), 0);
    }
}
