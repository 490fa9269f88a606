/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch_retry.c -- libcurl's easy interface, no time-out, and a retry loop.
 *
 *     fetch_retry URL
 *
 * As retry loops do it tries again on any error, three times in all, reports
 * each error on stderr and exits with 1 after the last.
 */
#include <curl/curl.h>
#include <err.h>
#include <stdio.h>

#define ATTEMPTS 3

/* NOLINTNEXTLINE(readability-non-const-parameter): the type is libcurl's */
static size_t discard(char *data, size_t size, size_t count, void *unused)
{
    (void)data;
    (void)unused;
    return size * count;
}

int main(int argc, char **argv)
{
    CURLcode error = CURLE_OK;
    CURL *curl;

    if (argc != 2)
        errx(125, "usage: fetch_retry URL");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    curl = curl_easy_init();
    if (!curl)
        errx(1, "cannot start libcurl");
    curl_easy_setopt(curl, CURLOPT_URL, argv[1]);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, discard);

    for (int attempt = 1; attempt <= ATTEMPTS; attempt++) {
        error = curl_easy_perform(curl);
        if (!error)
            break;
        warnx("attempt %d of %d: error %d, %s", attempt, ATTEMPTS, error,
              curl_easy_strerror(error));
    }

    curl_easy_cleanup(curl);
    curl_global_cleanup();
    return error ? 1 : 0;
}
