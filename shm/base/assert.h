/* SPDX-License-Identifier: Apache-2.0 */
/* What must hold in every build (mr_assert) and what is checked in test builds only because the loop is too hot (mr_check).
 * Hostile input is never asserted: it is an error with a name. */
#ifndef MR_BASE_ASSERT_H
#define MR_BASE_ASSERT_H

#if defined(__cplusplus)
extern "C" {
#endif

/** Print "file:line: assertion" to stderr by write(2) and abort. Never returns. */
_Noreturn void mr_assert_failed(const char *file, int line, const char *condition);

#define mr_likely(x)   __builtin_expect(!!(x), 1)
#define mr_unlikely(x) __builtin_expect(!!(x), 0)

#define mr_assert(condition) (mr_likely(condition) ? (void)0 : mr_assert_failed(__FILE__, __LINE__, #condition))

#ifdef MR_CHECKS
#define mr_check(condition) mr_assert(condition)
#else
#define mr_check(condition) ((void)sizeof(!(condition)))
#endif

#define MR_HOT  __attribute__((hot))
#define MR_COLD __attribute__((cold, noinline))
#define MR_MUST_USE __attribute__((warn_unused_result))
#define MR_PRINTF(string, first) __attribute__((__format__(__printf__, string, first)))

#if defined(__cplusplus)
}
#endif
#endif
