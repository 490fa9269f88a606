/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fetch_name.c -- libcurl, whose resolver thread looks for a name of which the
 * name server says nothing, and whose caller waits for that thread.
 *
 * curl_easy_cleanup joins the thread: both have to come to an end.
 */
#include "late.h"

#include <curl/curl.h>

int main(void)
{
    CURL *curl;
    CURLcode error;

    if (!(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_ASYNCHDNS))
        errx(125, "this libcurl has no resolver of its own");
    curl_global_init(CURL_GLOBAL_DEFAULT);
    curl = curl_easy_init();
    if (!curl)
        errx(1, "cannot start libcurl");
    curl_easy_setopt(curl, CURLOPT_URL, "http://host.stuck.test./");
    error = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    if (!error)
        errx(1, "a page from a host without an address");
    say_how_late();
}
