"""Which settings must be the same on both sides, which should, and which may differ (all that is not here)."""

from enum import StrEnum


class SettingClass(StrEnum):
    """How much it matters that a setting is the same on both sides."""

    MUST = "must match"
    """It decides what is stored, what a name means or whether a statement is allowed."""
    FORM = "must match unless clients set it"
    """It decides how values are written and read as text; many drivers set it in each session."""
    SHOULD = "should match"
    """It decides how fast, how long or with how much memory; the answer is the same."""
    AT_LEAST = "should be no less on the target"
    MAY = "may differ"


_MUST = (
    "xmloption", "standard_conforming_strings", "backslash_quote", "array_nulls", "transform_null_equals",
    "default_text_search_config", "gin_fuzzy_search_limit", "search_path", "row_security",
    "session_replication_role", "default_transaction_isolation", "default_transaction_read_only",
    "default_transaction_deferrable",
)  # fmt: skip
_FORM = (
    "DateStyle", "IntervalStyle", "TimeZone", "timezone_abbreviations", "bytea_output", "extra_float_digits",
    "xmlbinary", "lc_monetary", "lc_numeric", "lc_time",
)  # fmt: skip
_SHOULD = (
    "work_mem", "maintenance_work_mem", "hash_mem_multiplier", "temp_buffers", "temp_file_limit",
    "effective_cache_size", "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
    "idle_session_timeout", "transaction_timeout", "deadlock_timeout", "random_page_cost", "seq_page_cost",
    "cpu_tuple_cost", "cpu_index_tuple_cost", "cpu_operator_cost", "parallel_setup_cost", "parallel_tuple_cost",
    "jit", "jit_above_cost", "default_statistics_target", "from_collapse_limit", "join_collapse_limit",
    "constraint_exclusion", "plan_cache_mode", "cursor_tuple_fraction", "max_parallel_workers_per_gather",
    "enable_bitmapscan", "enable_gathermerge", "enable_hashagg", "enable_hashjoin", "enable_incremental_sort",
    "enable_indexonlyscan", "enable_indexscan", "enable_material", "enable_memoize", "enable_mergejoin",
    "enable_nestloop", "enable_parallel_append", "enable_parallel_hash", "enable_partition_pruning",
    "enable_partitionwise_aggregate", "enable_partitionwise_join", "enable_seqscan", "enable_sort",
    "enable_tidscan", "synchronous_commit", "fsync", "full_page_writes", "autovacuum", "lc_messages",
    "password_encryption", "lo_compat_privileges", "check_function_bodies", "default_tablespace",
    "temp_tablespaces", "default_table_access_method", "track_commit_timestamp", "shared_preload_libraries",
    "session_preload_libraries", "local_preload_libraries",
)  # fmt: skip
_AT_LEAST = ("max_connections", "max_locks_per_transaction", "max_prepared_transactions", "max_wal_senders")
_TUNING = frozenset({"auto_explain", "pg_hint_plan", "pg_stat_statements", "pgaudit", "rds"})
"""Extensions whose settings change no answer; all other names with a dot may be read by functions and policies."""

CLASSES = {
    name.lower(): kind
    for kind, names in (
        (SettingClass.MUST, _MUST),
        (SettingClass.FORM, _FORM),
        (SettingClass.SHOULD, _SHOULD),
        (SettingClass.AT_LEAST, _AT_LEAST),
    )
    for name in names
}
_UTC = frozenset({
    "utc", "etc/utc", "uct", "etc/uct", "gmt", "etc/gmt", "gmt0",
    "etc/gmt0", "zulu", "etc/zulu", "universal", "etc/universal", "greenwich", "etc/greenwich",
})  # fmt: skip


def class_of(name: str) -> SettingClass:
    """Say how much a setting matters, whatever the case in which its name is written."""
    prefix, dot, _ = name.lower().partition(".")
    if dot:
        return SettingClass.SHOULD if prefix in _TUNING else SettingClass.MUST
    return CLASSES.get(prefix, SettingClass.MAY)


def meaning(name: str, value: str) -> str:
    """Give values that mean the same one spelling."""
    plain = "".join(value.lower().split())
    if name.lower() == "timezone":
        return "utc" if plain in _UTC else plain
    if name.lower().startswith("lc_"):  # the same locale, as systems list it and as people write it
        return "c" if plain in ("c", "posix") else plain.replace("utf-8", "utf8")
    return plain if name.lower() in ("datestyle", "intervalstyle") else " ".join(value.split()).replace(", ", ",")
