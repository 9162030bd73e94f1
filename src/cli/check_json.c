#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "check.h"

#include <jansson.h>
#include <stdio.h>

enum { JSON_VERSION = 1 };

static json_t *text_or_null(const char *text)
{
    json_t *value;
    if (text == NULL || text[0] == '\0')
        return json_null();
    value = json_string(text);
    return value != NULL ? value : json_string("?");
}

void check_print_json(const struct check *check, const size_t counts[SEVERITIES])
{
    json_t *findings = json_array(), *names = json_array(), *totals = json_object();
    for (size_t i = 0; i < check->names.n; i++)
        json_array_append_new(names, text_or_null(check->names.v[i]));
    for (int s = 0; s < SEVERITIES; s++)
        json_object_set_new(totals, severity_word((enum severity)s), json_integer((json_int_t)counts[s]));
    for (size_t i = 0; i < check->n; i++) {
        const struct finding *finding = &check->v[i];
        json_array_append_new(
            findings, json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "severity",
                                severity_word(finding->severity), "about", finding->about, "name",
                                text_or_null(finding->name), "what", text_or_null(finding->what), "why",
                                text_or_null(finding->why), "todo", text_or_null(finding->todo)));
    }
    json_t *all = json_pack("{s:i, s:s, s:b, s:b, s:o, s:o, s:o}", "version", JSON_VERSION, "command",
                            "check", "ok", counts[SEVERITY_PROBLEM] == 0, "complete", check->root, "names",
                            names, "counts", totals, "findings", findings);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}
