/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch_late.c -- a transfer by libcurl that begins when many calls have been cut.
 *
 *     fetch_late easy|multi URL
 *
 * First it polls eight times for a second each, and takes no notice of what it is
 * told.  Then the transfer begins: with `multi` in a loop that takes no notice of
 * what curl_multi_poll returns either, as long as the transfer goes on.
 */
#include <curl/curl.h>
#include <err.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static CURLcode by_multi(CURL *curl)
{
    CURLM *multi = curl_multi_init();
    int running = 1, left;
    curl_multi_add_handle(multi, curl);
    while (running) {
        curl_multi_perform(multi, &running);
        if (running)
            curl_multi_poll(multi, NULL, 0, 1000, NULL);
    }
    const CURLMsg *message = curl_multi_info_read(multi, &left);
    return message ? message->data.result : CURLE_OK;
}

int main(int argc, char **argv)
{
    int ends[2];
    if (argc != 3 || pipe(ends))
        errx(125, "usage: fetch_late easy|multi URL");
    for (int i = 0; i < 8; i++)
        poll(&(struct pollfd){.fd = ends[0], .events = POLLIN}, 1, 1000);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *curl = curl_easy_init();
    curl_easy_setopt(curl, CURLOPT_URL, argv[2]);
    CURLcode error = strcmp(argv[1], "multi") == 0 ? by_multi(curl) : curl_easy_perform(curl);
    errx(1, "error %d, %s", error, curl_easy_strerror(error));
}
