#include "tlsup/run_state.h"
#include <string.h>
void run_state_clear(struct run_state *state) { memset(state, 0, sizeof *state); }
