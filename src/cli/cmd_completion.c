#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "commands.h"

bool cmd_completion(const struct request *request, struct err *err)
{
    (void)request;
    return err_set(err, ERR_INTERNAL, NEXT_NONE, NULL, "not there yet");
}
