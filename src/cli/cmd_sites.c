#include "commands.h"

bool cmd_sites(const struct request *request, struct err *err)
{
    (void)request;
    return err_set(err, ERR_INTERNAL, NEXT_NONE, NULL, "not yet");
}
