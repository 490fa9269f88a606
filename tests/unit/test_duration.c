/* SPDX-License-Identifier: Apache-2.0 */
/* test_duration.c -- every good form, every bad one. */
#include "support.h"

static const struct {
    const char *text;
    int64_t ns;
} good[] = {
    {"0", 0},
    {"5", 5 * COOPDL_SECOND},
    {"2.5", 2500 * MS},
    {".5", 500 * MS},
    {"5.", 5 * COOPDL_SECOND},
    {"2.5s", 2500 * MS},
    {"250ms", 250 * MS},
    {"1m30s", 90 * COOPDL_SECOND},
    {"1h", 3600 * COOPDL_SECOND},
    {"2d", 172800 * COOPDL_SECOND},
    {"1.5h", 5400 * COOPDL_SECOND},
    {"1d2h3m4s5ms6us7ns", INT64_C(93784005006007)},
    {"10us", 10000},
    {"007", 7 * COOPDL_SECOND},
    {"0.1", 100 * MS},
    {"0.000000001", 1},
    /* Finer than a nanosecond: up, so that nothing is early. */
    {"0.0000000001", 1},
    {"1.0000000001d", 86400 * COOPDL_SECOND + 8640},
    {"0.00000000000000000000000000001d", 1},
    {"0.5ns", 1},
    {"1.00000000000000000000", COOPDL_SECOND},
    {"9223372036854775807ns", INT64_MAX},
    {"9223372036.854775807", INT64_MAX},
    {"106751d", INT64_C(106751) * 86400 * COOPDL_SECOND},
    {"1e3", 1000 * COOPDL_SECOND},
    {"1E+1", 10 * COOPDL_SECOND},
    {"2.5e-1m", 15 * COOPDL_SECOND},
    {"25e-2s", 250 * MS},
    {".05e2", 5 * COOPDL_SECOND},
    {"1.5e0h30e0m", 7200 * COOPDL_SECOND},
    {"1e-9", 1},
    {"1e-99999999999999999999", 1},
    {"0e99999999999999999999", 0},
    {"0.000e-5d", 0},
    {"1234567890123456789e-19", 123456789 + 1},
    {"inf", INT64_MAX},
    {"Infinity", INT64_MAX},
};

static const struct {
    const char *text;
    int error;
} bad[] = {
    /* One to a line they would fill a screen. */
    /* clang-format off */
    {"", EINVAL},          {" ", EINVAL},          {" 5", EINVAL},       {"5 ", EINVAL},
    {"5 s", EINVAL},       {"-5", EINVAL},         {"+5", EINVAL},       {"-0", EINVAL},
    {"s", EINVAL},         {".", EINVAL},          {".s", EINVAL},       {"5x", EINVAL},
    {"5ss", EINVAL},       {"5sec", EINVAL},       {"5S", EINVAL},       {"5M", EINVAL},
    {"nan", EINVAL},       {"inf5", EINVAL},       {"infinit", EINVAL},  {"e3", EINVAL},
    {"1e", EINVAL},        {"1e+", EINVAL},        {"1e5e5", EINVAL},    {".e1", EINVAL},
    {"infs", EINVAL},      {"1e10", ERANGE},       {"1e999999999999", ERANGE}, {"1e-1e", EINVAL},
    {"0x10", EINVAL},      {"1,5", EINVAL},        {"1.2.3", EINVAL},    {"1..2", EINVAL},
    {"1m30", EINVAL},      {"30s1m", EINVAL},      {"1s1s", EINVAL},     {"5\n", EINVAL},
    {"5s;", EINVAL},       {"1h-5m", EINVAL},      {"ms5", EINVAL},      {"5m s", EINVAL},
    {"293y", EINVAL},      {"\xc2\xa0" "5", EINVAL}, {"5\xc2\xb5s", EINVAL}, {"off", EINVAL},
    {"9223372036854775808ns", ERANGE},             {"9223372036.854775808", ERANGE},
    {"9223372037", ERANGE},                        {"106752d", ERANGE},
    {"99999999999999999999999999999999", ERANGE},  {"106751d24h", ERANGE},
    {"9223372036.8547758070001", ERANGE},          {"9223372036854775807ns1", EINVAL},
    /* clang-format on */
};

Test(duration, good)
{
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        int64_t ns = -1;
        cr_expect(coopdl_duration(good[i].text, &ns) == 0, "'%s' was refused", good[i].text);
        cr_expect(ns == good[i].ns, "'%s' gave %lld", good[i].text, (long long)ns);
    }
}

Test(duration, bad)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t ns = 42;
        errno = 0;
        cr_expect(coopdl_duration(bad[i].text, &ns) == -1, "'%s' was accepted", bad[i].text);
        cr_expect(errno == bad[i].error, "'%s': errno %d", bad[i].text, errno);
        cr_expect(ns == 42, "'%s' stored something", bad[i].text);
    }
    int64_t ns;
    cr_expect(coopdl_duration(NULL, &ns) == -1 && errno == EINVAL);
}

Test(duration, after)
{
    int64_t now = coopdl_now();
    cr_expect(coopdl_after(COOPDL_SECOND) >= now + COOPDL_SECOND);
    cr_expect(coopdl_after(COOPDL_SECOND) <= coopdl_now() + COOPDL_SECOND);
    cr_expect(coopdl_after(INT64_MAX) == COOPDL_NEVER);
    cr_expect(coopdl_after(INT64_MIN) <= coopdl_now());
    cr_expect(coopdl_after(0) <= coopdl_now());
}
