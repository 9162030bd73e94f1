#include "tlsup/machine_config.h"
#include <string.h>
void machine_config_init(struct machine_config *config) { memset(config, 0, sizeof *config); }
void machine_config_clear(struct machine_config *config) { (void)config; }
bool machine_config_has(const char *key) { (void)key; return false; }
const char *machine_config_key_at(size_t index) { (void)index; return NULL; }
bool machine_config_set(struct machine_config *config, const char *key, const char *value, struct err *err) { (void)config; (void)key; (void)value; (void)err; return true; }
