#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/session.h"

#include <string.h>

#include "tlsup/b64.h"

void session_put(struct session *session, const char *nonce)
{
    if (!b64url_valid(nonce, SESSION_NONCE_BYTES - 1))
        return;
    for (size_t i = 0; i < session->n; i++)
        if (strcmp(session->nonce[i], nonce) == 0)
            return;
    if (session->n == SESSION_MAX_NONCES) {
        memmove(session->nonce[0], session->nonce[1], sizeof session->nonce[0] * (SESSION_MAX_NONCES - 1));
        session->n--;
    }
    memcpy(session->nonce[session->n++], nonce, strlen(nonce) + 1);
}

bool session_take(struct session *session, char out[SESSION_NONCE_BYTES])
{
    if (session->n == 0)
        return false;
    memcpy(out, session->nonce[--session->n], SESSION_NONCE_BYTES);
    return true;
}

void session_drop_all(struct session *session)
{
    session->n = 0;
}
