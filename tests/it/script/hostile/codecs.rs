//! Lengths, counts, depths and offsets that a codec must not trust.

use super::{Answer, Fail, Row, check_rows};

const JSON: &[Row] = &[
    ("CVE-2022-24834", r"return #cjson.encode(('\1'):rep(3e5))", Answer("(integer) 1800002")),
    ("CVE-2022-24834", "return #cjson.decode('\"' .. ('x'):rep(1e6) .. '\"')", Answer("(integer) 1000000")),
    ("a depth beyond all", "cjson.encode_max_depth(2^31)", Fail("ERR user_script:1: bad argument #1 to 'encode_max_depth'")),
    ("a depth of nothing", "cjson.decode_max_depth(0)", Fail("ERR user_script:1: bad argument #1 to 'decode_max_depth'")),
    (
        "a depth that is no number",
        "cjson.decode_max_depth(0/0)",
        Fail("ERR user_script:1: bad argument #1 to 'decode_max_depth'"),
    ),
    (
        "a precision beyond all",
        "cjson.encode_number_precision(2^31)",
        Fail("ERR user_script:1: bad argument #1 to 'encode_number_precision'"),
    ),
    (
        "a precision below all",
        "cjson.encode_number_precision(-1)",
        Fail("ERR user_script:1: bad argument #1 to 'encode_number_precision'"),
    ),
    (
        "a ratio beyond all",
        "cjson.encode_sparse_array(true, -1, 2^53)",
        Fail("ERR user_script:1: bad argument #1 to 'encode_sparse_array'"),
    ),
    (
        "a huge index",
        "return cjson.encode({[2^31 - 1] = 1})",
        Fail("ERR user_script:1: Cannot serialise table: excessively sparse array"),
    ),
    ("an index beyond integers", "return cjson.encode({[1e308] = 1})", Answer(r#""{\"1e+308\":1}""#)),
    ("a negative index", "return cjson.encode({[-2^53] = 1})", Answer(r#""{\"-9.007199254741e+15\":1}""#)),
    ("no number", "return cjson.encode({0/0})", Fail("ERR user_script:1: Cannot serialise number: must not be NaN or Inf")),
    ("no end", "return cjson.encode({1/0})", Fail("ERR user_script:1: Cannot serialise number: must not be NaN or Inf")),
    (
        "a function",
        "return cjson.encode({function() end})",
        Fail("ERR user_script:1: Cannot serialise function: type not supported"),
    ),
    (
        "a key that is a table",
        "return cjson.encode({[{}] = 1})",
        Fail("ERR user_script:1: Cannot serialise table: table key must be a number or string"),
    ),
    (
        "metamethods are not called",
        "return cjson.encode(setmetatable({1}, {__index = function() error('x') end, __len = function() return 1e9 end}))",
        Answer("\"[1]\""),
    ),
    ("an exponent beyond all", "return cjson.decode('[1e999999999]')[1] == 1/0", Answer("(integer) 1")),
    ("a million digits", "return cjson.decode('[' .. ('9'):rep(1e6) .. ']')[1] == 1/0", Answer("(integer) 1")),
    (
        "half a surrogate",
        r#"return cjson.decode('"\\ud800"')"#,
        Fail("ERR user_script:1: Expected value but found invalid unicode escape code at character 2"),
    ),
    (
        "an escape that ends",
        r#"return cjson.decode('"\\u12')"#,
        Fail("ERR user_script:1: Expected value but found invalid unicode escape code at character 2"),
    ),
    ("a string that ends", r#"return cjson.decode('"\\')"#, Fail("ERR user_script:1: Expected value but found ")),
    ("nothing", "return cjson.decode('')", Fail("ERR user_script:1: Expected value but found T_END at character 1")),
    ("a NUL", r"return cjson.decode('[1\0]')", Fail("ERR user_script:1: ")),
    (
        "another encoding",
        r"return cjson.decode('\0[\0]')",
        Fail("ERR user_script:1: JSON parser does not support UTF-16 or UTF-32"),
    ),
];

const MESSAGE_PACK: &[Row] = &[
    (
        "CVE-2018-11218: many arguments",
        "return #cmsgpack.pack(unpack((function() local t = {} for i = 1, 7990 do t[i] = i end return t end)()))",
        Fail("ERR user_script:1: bad argument #0 to 'pack' (Too many arguments for MessagePack pack.)"),
    ),
    ("CVE-2018-11218: many values", r"return cmsgpack.unpack(('\1'):rep(1e5))", Fail("ERR user_script:1: ")),
    (
        "CVE-2022-24834: an array of 4 G",
        r"return cmsgpack.unpack('\221\255\255\255\255')",
        Fail("ERR user_script:1: Missing bytes in input."),
    ),
    ("a map of 4 G", r"return cmsgpack.unpack('\223\255\255\255\255')", Fail("ERR user_script:1: Missing bytes in input.")),
    ("a string of 4 G", r"return cmsgpack.unpack('\219\255\255\255\255')", Fail("ERR user_script:1: Missing bytes in input.")),
    ("bytes of 4 G", r"return cmsgpack.unpack('\198\255\255\255\255x')", Fail("ERR user_script:1: Bad data format in input.")),
    (
        "arrays of 4 G in arrays of 4 G",
        r"return cmsgpack.unpack(('\221\255\255\255\255'):rep(900))",
        Fail("ERR user_script:1: Missing bytes in input."),
    ),
    ("an extension", r"return cmsgpack.unpack('\199\255\1x')", Fail("ERR user_script:1: Bad data format in input.")),
    ("a type that is none", r"return cmsgpack.unpack('\193')", Fail("ERR user_script:1: Bad data format in input.")),
    ("a key that is no number", r"return cmsgpack.unpack('\129\203\127\248\0\0\0\0\0\0\1')", Fail("ERR table index is NaN")),
    ("a key that is nil", r"return cmsgpack.unpack('\129\192\1')", Fail("ERR table index is nil")),
    ("nothing", "return cmsgpack.unpack('')", Answer("(nil)")),
    ("a limit beyond all", r"return {cmsgpack.unpack_limit('\1', 2^31, 0)}", Answer("1) (integer) -1\n2) (integer) 1")),
    (
        "a limit below all",
        r"return {cmsgpack.unpack_limit('\1', -1, 0)}",
        Fail("ERR user_script:1: Invalid request to unpack with offset of 0 and limit of 1"),
    ),
    (
        "an offset beyond all",
        r"return {cmsgpack.unpack_one('\1', 2147483647)}",
        Fail("ERR user_script:1: Start offset 2147483647 greater than input length 1."),
    ),
    (
        "an offset below all",
        r"return {cmsgpack.unpack_one('\1', -1)}",
        Fail("ERR user_script:1: Invalid request to unpack with offset of -1 and limit of 1."),
    ),
    ("an offset that wraps", r"return {cmsgpack.unpack_one('\1', 2^32 + 1)}", Fail("ERR user_script:1: ")),
    (
        "no arguments",
        "return cmsgpack.pack()",
        Fail("ERR user_script:1: bad argument #0 to 'pack' (MessagePack pack needs input.)"),
    ),
    ("functions", "return #cmsgpack.pack(function() end, coroutine.create(function() end), newproxy())", Answer("(integer) 3")),
];

const STRUCT: &[Row] = &[
    (
        "CVE-2018-11219: a size that wraps",
        "return struct.unpack('I2147483648', 'x')",
        Fail("ERR user_script:1: integral size overflow"),
    ),
    (
        "CVE-2018-11219: a size of many digits",
        "return struct.pack('I' .. ('9'):rep(1e5), 1)",
        Fail("ERR user_script:1: integral size overflow"),
    ),
    (
        "CVE-2018-11219: an integer of 33 bytes",
        "return struct.pack('i33', 1)",
        Fail("ERR user_script:1: integral size 33 is larger than limit of 32"),
    ),
    ("an alignment that wraps", "return struct.pack('!4294967296i4', 1)", Fail("ERR user_script:1: integral size overflow")),
    (
        "an alignment that is no power of 2",
        "return struct.pack('!3i4', 1)",
        Fail("ERR user_script:1: alignment 3 is not a power of 2"),
    ),
    (
        "CVE-2020-14147: an offset beyond all",
        "return struct.unpack('I4', 'abcd', 2147483647)",
        Fail("ERR user_script:1: bad argument #2 to 'unpack' (data string too short)"),
    ),
    ("CVE-2020-14147: an offset that wraps", "return struct.unpack('c0', '\\255abc', 2^32)", Fail("ERR user_script:1: ")),
    ("CVE-2020-14147: an offset of nothing", "return struct.unpack('I4', 'abcd', 0)", Fail("ERR user_script:1: ")),
    ("CVE-2020-14147: an offset below all", "return struct.unpack('I4', 'abcd', -2147483648)", Fail("ERR user_script:1: ")),
    (
        "CVE-2020-14147: a count that is negative",
        r"return struct.unpack('i4c0', '\255\255\255\255abcd')",
        Fail("ERR user_script:1: "),
    ),
    ("CVE-2020-14147: a count beyond all", r"return struct.unpack('I4c0', '\255\255\255\255abcd')", Fail("ERR user_script:1: ")),
    (
        "CVE-2020-14147: a count that is no number",
        "return struct.unpack('sc0', 'x\\0abcd')",
        Fail("ERR user_script:1: format 'c0' needs a previous size"),
    ),
    (
        "CVE-2020-14147: a count that a double makes",
        r"return struct.unpack('dc0', ('\255'):rep(8) .. 'abcd')",
        Fail("ERR user_script:1: "),
    ),
    (
        "a count without one before",
        "return struct.unpack('c0', 'abcd')",
        Fail("ERR user_script:1: format 'c0' needs a previous size"),
    ),
    ("a string without end", "return struct.unpack('s', 'abcd')", Fail("ERR user_script:1: unfinished string in data")),
    ("a size of a million", "return struct.size(('I4'):rep(3e5))", Answer("(integer) 1200000")),
    ("a size that sums beyond an int", "return struct.size('c2147483647c2147483647')", Answer("(integer) 4294967294")),
    (
        "a size that is not fixed",
        "return struct.size('s')",
        Fail("ERR user_script:1: bad argument #1 to 'size' (option 's' has no fixed size)"),
    ),
    (
        "too short a string",
        "return struct.pack('c2147483647', 'x')",
        Fail("ERR user_script:1: bad argument #3 to 'pack' (string too short)"),
    ),
    ("what is no number", "return #struct.pack('>I8i8', 0/0, 1/0)", Answer("(integer) 16")),
    (
        "many results",
        "return select('#', struct.unpack(('B'):rep(1e5), ('x'):rep(1e5)))",
        Fail("ERR user_script:1: stack overflow (too many results)"),
    ),
    ("a format that is none", r"return struct.pack('\0', 1)", Answer("\"\"")),
];

#[test]
fn json_trusts_no_length_and_no_depth() {
    check_rows(JSON);
}

#[test]
fn message_pack_trusts_no_length_and_no_offset() {
    check_rows(MESSAGE_PACK);
}

#[test]
fn struct_trusts_no_size_and_no_offset() {
    check_rows(STRUCT);
}
