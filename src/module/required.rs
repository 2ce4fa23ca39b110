//! The functions of the module API that this crate cannot do without. A server that lacks one refuses the load by name, instead of
//! failing in the middle of a command. What may be absent is looked up where it is used (`RM_CachedMicroseconds`, ACL categories).

use redis_module::raw;

/// The functions that this crate cannot do without and the server does not have; none from Redis 7.0 on.
#[must_use]
pub fn absent_functions() -> Vec<&'static str> {
    macro_rules! absent {
        ($($name:ident,)*) => {
            // SAFETY: the pointers are written once, by the load of the module, which this is part of.
            unsafe { [$((stringify!($name), { let function = raw::$name; function.is_none() }),)*] }
        };
    }
    let functions = absent![
        RedisModule_Call,
        RedisModule_CallReplyProto,
        RedisModule_CloseKey,
        RedisModule_CreateCommand,
        RedisModule_CreateString,
        RedisModule_CreateStringFromLongLong,
        RedisModule_CreateSubcommand,
        RedisModule_DeleteKey,
        RedisModule_FreeCallReply,
        RedisModule_FreeServerInfo,
        RedisModule_FreeString,
        RedisModule_GetAbsExpire,
        RedisModule_GetCommand,
        RedisModule_GetSelectedDb,
        RedisModule_GetServerInfo,
        RedisModule_HashGet,
        RedisModule_HashSet,
        RedisModule_InfoAddFieldULongLong,
        RedisModule_InfoAddSection,
        RedisModule_KeyType,
        RedisModule_ListGet,
        RedisModule_ListPop,
        RedisModule_ListPush,
        RedisModule_LoadConfigs,
        RedisModule_Log,
        RedisModule_NotifyKeyspaceEvent,
        RedisModule_OpenKey,
        RedisModule_RegisterBoolConfig,
        RedisModule_RegisterInfoFunc,
        RedisModule_RegisterNumericConfig,
        RedisModule_Replicate,
        RedisModule_ReplyWithArray,
        RedisModule_ReplyWithBigNumber,
        RedisModule_ReplyWithDouble,
        RedisModule_ReplyWithError,
        RedisModule_ReplyWithLongLong,
        RedisModule_ReplyWithMap,
        RedisModule_ReplyWithNull,
        RedisModule_ReplyWithSet,
        RedisModule_ReplyWithSimpleString,
        RedisModule_ReplyWithStringBuffer,
        RedisModule_ReplyWithVerbatimStringType,
        RedisModule_SelectDb,
        RedisModule_ServerInfoGetFieldC,
        RedisModule_SetAbsExpire,
        RedisModule_SetCommandInfo,
        RedisModule_SetModuleOptions,
        RedisModule_SignalModifiedKey,
        RedisModule_StringDMA,
        RedisModule_StringPtrLen,
        RedisModule_StringSet,
        RedisModule_StringTruncate,
        RedisModule_TrimStringAllocation,
        RedisModule_ValueLength,
        RedisModule_WrongArity,
    ];
    functions.into_iter().filter_map(|(name, absent)| absent.then_some(name)).collect()
}
