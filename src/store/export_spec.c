#include "tlsup/export_spec.h"
#include <string.h>
bool export_spec_parse(const char *text, struct export_spec *out, struct err *err) { (void)text; memset(out, 0, sizeof *out); (void)err; return true; }
void export_spec_clear(struct export_spec *spec) { (void)spec; }
bool export_format_parse(const char *word, enum export_format *out, struct err *err) { (void)word; (void)err; *out = EXPORT_PEM; return true; }
