#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "options_internal.h"

#include <string.h>

static const struct command_info commands[] = {
    {COMMAND_ENABLE, "enable", "[NAME...]", TAKES_NAMES, "get a certificate, turn HTTPS on, keep it renewed",
     "Gets one certificate for all the names, puts it into nginx or Apache, switches port 443 on, proves by "
     "a real handshake that the "
     "certificate is served, and sees to it that it is renewed. If a step fails, the web server is put back "
     "as it was. DNS, CAA, firewall and clock are looked at first: what would make it fail stops it before "
     "the "
     "CA is asked. Without NAME it "
     "lists the web server's sites, says which of them lead to this machine, and asks.",
     "  sudo tlsup enable example.org www.example.org\n"
     "  sudo tlsup enable example.org --redirect -m admin@example.org\n"
     "  sudo tlsup enable example.org '*.example.org' --challenge-hook ./dns-hook\n"
     "  sudo tlsup enable example.org --dry-run        a rehearsal, of which nothing stays\n"
     "  sudo tlsup enable example.org --staging        in earnest, with a CA nobody trusts\n"
     "  sudo tlsup enable example.org --with nginx     on a machine without a web server\n"
     "  sudo tlsup enable example.org --plan           what would be written and run\n"
     "  sudo tlsup enable --all --redirect\n"},
    {COMMAND_ISSUE, "issue", "NAME...", TAKES_NAMES, "get a certificate and keep it renewed, no more",
     "Gets one certificate for all the names and stores it, for programs that you point at its files "
     "yourself. The CA's challenge is "
     "answered by the running web server, or by tlsup itself (--standalone, --tls-alpn), through files below "
     "a web root (-w), or through DNS. "
     "With --from it gets many certificates, the names of each on a line of a file; with --csr one for a "
     "request made elsewhere.",
     "  sudo tlsup issue example.org\n"
     "  sudo tlsup issue --standalone mail.example.org --deploy-hook /usr/local/sbin/reload-mail\n"
     "  sudo tlsup issue -w /var/www/html example.org www.example.org\n"
     "  sudo tlsup issue '*.example.org' --dns-update-server primary \\\n      --dns-update-key "
     "/etc/tsig.key\n"
     "  sudo tlsup issue --from domains.txt\n"},
    {COMMAND_INSTALL, "install", "CERT", TAKES_ONE_CERT, "put a stored certificate into a web server",
     "Puts a certificate that tlsup holds into nginx or Apache and proves that it is served. From then on "
     "every renewal goes there, too.",
     "  sudo tlsup install example.org\n"
     "  sudo tlsup install example.org --apache --redirect\n"},
    {COMMAND_SITES, "sites", "", TAKES_NOTHING, "the web server's sites, and who owns each name",
     "Lists what nginx or Apache serves, as the server itself sees it: each site with its names, addresses, "
     "ports, certificate and place in the configuration; then for each name which site answers on port 80 "
     "and which on port 443. Sites whose file is there but not enabled are listed, too. Nothing is changed.",
     "  sudo tlsup sites\n"
     "  sudo tlsup sites --json\n"},
    {COMMAND_CHECK, "check", "[NAME...]", TAKES_ANY_NAMES,
     "would it work? before anything is asked or changed",
     "Looks at everything that a certificate for the names would need: who holds ports 80 and 443, the web "
     "server's configuration, the site that the names belong to, whether they lead to this machine, what its "
     "firewall lets through, and what it can write to. Each finding says what it is, why it matters and what "
     "to do. Without NAME the names "
     "of all certificates are looked at. The exit status is 3 when something would keep it from working.",
     "  sudo tlsup check example.org www.example.org\n"
     "  sudo tlsup check --open-firewall\n"
     "  sudo tlsup check --json\n"},
    {COMMAND_RECOVER, "recover", "", TAKES_NOTHING, "end what an interrupted run has left",
     "Brings a change of the web server's configuration to an end that a run of tlsup was killed in: what "
     "was proven stands, everything else is put back. Every command that writes does this first; this one "
     "is for the time before the web servers start, after a power cut.",
     "  sudo tlsup recover\n"},
    {COMMAND_RENEW, "renew", "[CERT...]", TAKES_ANY_CERTS, "renew what is due; for a timer or cron",
     "Renews the certificates for which the CA says that it is time, or which have a third of their life "
     "left or less, puts the new ones in "
     "place and proves that they are served. What failed before, a reload or a hook, is tried again, alone. "
     "Without CERT all certificates are looked at; a CERT that is named is tried at once. What a certificate "
     "was issued with is remembered; "
     "how the CA is reached can be told for this one run.",
     "  sudo tlsup renew\n"
     "  sudo tlsup renew --dry-run                     would renewal work?\n"
     "  sudo tlsup renew example.org --force-renewal\n"},
    {COMMAND_STATUS, "status", "[CERT...]", TAKES_ANY_CERTS, "what is held, where it is served, what is due",
     "Shows the certificates that tlsup holds, those with a problem first: names, expiry, when they are "
     "renewed, where they are served, and "
     "what went wrong the last time. With CERT or --verbose it tells all about each. The exit status is 0 "
     "even when a certificate has a "
     "problem.",
     "  tlsup status\n"
     "  tlsup status example.org\n"
     "  tlsup status --json | jq '.certificates[] | select(.state != \"valid\")'\n"},
    {COMMAND_REVOKE, "revoke", "CERT", TAKES_CERT_OR_FILE, "declare a certificate invalid at its CA",
     "Tells the CA that a certificate is not to be trusted any more. The request is signed by the account, "
     "or by the certificate's own key "
     "(--by-key, --key-path), which anybody may do who has it. A certificate that tlsup does not hold is "
     "given as a file (--cert-path). After "
     "--reason keyCompromise its key is never used again. The next `tlsup renew` replaces the certificate. "
     "One whose key is safe needs no revocation: it expires.",
     "  sudo tlsup revoke example.org --reason superseded\n"
     "  sudo tlsup revoke example.org --reason keyCompromise\n"
     "  tlsup revoke --cert-path cert.pem --key-path privkey.pem --reason keyCompromise\n"},
    {COMMAND_RECONFIGURE, "reconfigure", "CERT", TAKES_ONE_CERT,
     "change a certificate's names, CA, key or way",
     "Changes what a certificate is configured with: what stands on the command line takes the place of what "
     "is stored; -d gives "
     "all of its names anew. It is rehearsed with the CA's staging server first, where it has one, and "
     "nothing is changed when that fails. Where the "
     "certificate that is held does not fit any more, a new one is got at once and put in place.",
     "  sudo tlsup reconfigure example.org -d example.org,www.example.org,shop.example.org\n"
     "  sudo tlsup reconfigure example.org --key-type ecdsa-p256,rsa-2048\n"
     "  sudo tlsup reconfigure example.org -w /var/www/html \\\n"
     "      --deploy-hook /usr/local/sbin/reload-mail\n"},
    {COMMAND_RENAME, "rename", "CERT NEW", TAKES_CERT_AND_NEW_NAME, "call a certificate by another name",
     "Gives a certificate another name, and with it other paths. The web server is switched over to them as "
     "one change that is proven; programs that "
     "you pointed at its files yourself are not: their paths are shown.",
     "  sudo tlsup rename example.org-0001 example.org\n"},
    {COMMAND_RESTORE, "restore", "CERT [VERSION]", TAKES_CERT_AND_VERSION, "go back to a former version",
     "Puts a former version of a certificate in place again, in the web server, too, and proves that it is "
     "served. Without VERSION it lists those "
     "that are kept.",
     "  sudo tlsup restore example.org\n"
     "  sudo tlsup restore example.org 3\n"},
    {COMMAND_EXPORT, "export", "CERT", TAKES_ONE_CERT, "a copy in another form: PKCS#12, one PEM file, DER",
     "Writes a certificate with its key as other programs want it, with the owner and the mode that they "
     "need. With --standing "
     "it is written again after each renewal.",
     "  sudo tlsup export example.org --format p12 --to example.p12 --password-file pass\n"
     "  sudo tlsup export example.org --format combined --standing \\\n"
     "      --to /etc/haproxy/example.org.pem\n"
     "  sudo tlsup export mail.example.org --format pem --standing \\\n"
     "      --to /etc/prosody/certs/mail --owner prosody\n"},
    {COMMAND_IMPORT, "import", "--from CLIENT [DIR]", TAKES_DIRECTORY,
     "take over what another ACME client holds",
     "Takes over certificates, keys, accounts, settings and hooks of certbot, acme.sh, dehydrated, lego or "
     "uacme, without a new order. What the other "
     "client has is left as it is. With --switch-web-server the web server reads the certificates from "
     "tlsup's directory from then on. What renews "
     "for the old client is named, and switched off if you say yes.",
     "  sudo tlsup import --from certbot --plan\n"
     "  sudo tlsup import --from certbot --switch-web-server\n"
     "  sudo tlsup import --from acme.sh /root/.acme.sh\n"},
    {COMMAND_ACCOUNT_REGISTER, "account register", "", TAKES_NOTHING, "make an account with the CA",
     "Makes an account with the CA, or finds the one that the account key has there, and sets its e-mail "
     "address. The other commands do this "
     "by themselves when it is needed. Some CAs bind it to an account that you have with them: they give a "
     "key ID and an HMAC key for that.",
     "  sudo tlsup account register --agree-tos -m admin@example.org\n"
     "  sudo tlsup account register --server zerossl --eab-kid KID --eab-hmac-key @/root/hmac\n"},
    {COMMAND_ACCOUNT_SHOW, "account show", "", TAKES_NOTHING, "show the account with the CA",
     "Shows the account that is used with the CA: its URL, its e-mail address and the terms of service that "
     "were agreed to.",
     "  sudo tlsup account show\n"
     "  sudo tlsup account show --staging --json\n"},
    {COMMAND_ACCOUNT_LIST, "account list", "", TAKES_NOTHING, "list the accounts with all CAs",
     "Lists the accounts that this machine has, of every CA and every name. No CA is asked.",
     "  sudo tlsup account list\n"
     "  sudo tlsup account list --json\n"},
    {COMMAND_ACCOUNT_UPDATE, "account update", "", TAKES_NOTHING,
     "change the e-mail address, agree to new terms",
     "Tells the CA another e-mail address for the account, or that you agree to its terms of service as they "
     "are now.",
     "  sudo tlsup account update -m admin@example.org\n"
     "  sudo tlsup account update --agree-tos --server zerossl\n"},
    {COMMAND_ACCOUNT_CHANGE_KEY, "account change-key", "", TAKES_NOTHING, "give the account a new key",
     "Makes a new account key and tells the CA of it. The account stays the same, and so does every "
     "certificate. A change that was cut short is "
     "completed by another call. Where one key is used with several CAs, it is changed with all of them.",
     "  sudo tlsup account change-key\n"
     "  sudo tlsup account change-key --server zerossl\n"},
    {COMMAND_ACCOUNT_IMPORT, "account import", "KEY", TAKES_KEY, "use an account that another program made",
     "Takes over the account key of another ACME client, and with it the account. KEY is a file with a "
     "private key in PEM, or in JSON as certbot "
     "has it (accounts/.../private_key.json), or the URI of a key on a token (pkcs11:...). An account key "
     "that is there already is kept "
     "beside it.",
     "  sudo tlsup account import private_key.json     of certbot's accounts/.../directory/.../\n"
     "  sudo tlsup account import old-account.pem --server zerossl --account old\n"
     "  sudo tlsup account import 'pkcs11:token=acme;object=account'\n"},
    {COMMAND_ACCOUNT_DEACTIVATE, "account deactivate", "", TAKES_NOTHING, "give the account up for good",
     "Tells the CA that the account is not used any more. This cannot be taken back: what is still to be "
     "renewed needs a new account. The "
     "certificates stay valid.",
     "  sudo tlsup account deactivate --staging\n"},
    {COMMAND_DELETE, "delete", "CERT...", TAKES_SOME_CERTS, "forget a certificate and remove its files",
     "Removes a certificate, its keys and its configuration from this machine. It is not revoked: it simply "
     "is no longer renewed. A "
     "certificate that a web server still serves is refused (`tlsup undo` comes first), and so is one with "
     "standing copies for other programs.",
     "  sudo tlsup delete old.example.org\n"},
    {COMMAND_UNDO, "undo", "CERT", TAKES_ONE_CERT, "put the web server's configuration back",
     "Takes back every change that was made to the web server's files for a certificate, tests and reloads "
     "the server. What a person has "
     "changed since is kept. The certificate stays in the store and is renewed; `tlsup delete` forgets it.",
     "  sudo tlsup undo example.org\n"},
    {COMMAND_TIMER_STATUS, "timer status", "", TAKES_NOTHING, "what renews, and when next",
     "Says what calls tlsup renew on this machine, a systemd timer or a cron file, and when it does next. "
     "The exit "
     "status is 3 when nothing does.",
     "  tlsup timer status\n"
     "  tlsup timer status --json\n"},
    {COMMAND_TIMER_ON, "timer on", "", TAKES_NOTHING, "see to it that renewal runs by itself",
     "Sets up what calls tlsup renew each hour at a random minute: a systemd timer where systemd runs, else "
     "a cron "
     "file; never both. enable, issue and install do this by themselves.",
     "  sudo tlsup timer on\n"},
    {COMMAND_TIMER_OFF, "timer off", "", TAKES_NOTHING, "nothing renews by itself any more",
     "Switches off what calls tlsup renew. Certificates then expire unless you run it yourself; the next "
     "enable, "
     "issue or install switches it on again, but with --no-timer.",
     "  sudo tlsup timer off\n"},
    {COMMAND_NOTIFY, "notify", "", TAKES_NOTHING, "send a test notification",
     "Sends a test by each way of notification that tlsup.conf has, and says what came of it. Where there is "
     "none, it shows how to have one.",
     "  sudo tlsup notify\n"},
    {COMMAND_COMPLETION, "completion", "SHELL", TAKES_SHELL, "completion for bash, zsh or fish",
     "Prints a script that completes command lines of tlsup. Packages install it where the shells look.",
     "  tlsup completion bash >/etc/bash_completion.d/tlsup\n"},
    {COMMAND_HELP, "help", "[COMMAND]", TAKES_COMMAND, "this text, or all about one command", NULL, NULL},
};

/* Words of other clients that mean the very same. */
static const struct {
    const char *word;
    enum command command;
} command_aliases[] = {
    {"register", COMMAND_ACCOUNT_REGISTER},
    {"update_account", COMMAND_ACCOUNT_UPDATE},
    {"unregister", COMMAND_ACCOUNT_DEACTIVATE},
    {"show_account", COMMAND_ACCOUNT_SHOW},
};

/* What people type who come from elsewhere, or guess. */
static const struct {
    const char *typed, *meant;
} other_words[] = {
    {"certonly", "issue"},
    {"obtain", "issue"},
    {"get", "issue"},
    {"new", "issue"},
    {"run", "enable"},
    {"certificates", "status"},
    {"list", "status"},
    {"ls", "status"},
    {"show", "status"},
    {"accounts", "account list"},
    {"keyrollover", "account change-key"},
    {"rollover", "account change-key"},
    {"newkey", "account change-key"},
    {"deactivate", "account deactivate"},
    {"remove", "delete"},
    {"rm", "delete"},
    {"rollback", "undo"},
    {"modify", "reconfigure"},
    {"edit", "reconfigure"},
    {"revert", "restore"},
    {"migrate", "import"},
    {"convert", "export"},
    {"install-cert", "export"},
    {"test", "check"},
    {"doctor", "check"},
    {"uninstall", "undo"},
    {"renew-all", "renew"},
    {"cron", "renew"},
    {"on", "enable"},
    {"version", "--version"},
};

const struct command_info *command_at(size_t index)
{
    return index < COUNT_OF(commands) ? &commands[index] : NULL;
}

const struct command_info *command_info_of(enum command command)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        if (commands[i].command == command)
            return &commands[i];
    return NULL;
}

const char *command_name(enum command command)
{
    const struct command_info *info = command_info_of(command);
    return info != NULL                 ? info->name
           : command == COMMAND_ACCOUNT ? "account"
           : command == COMMAND_TIMER   ? "timer"
           : command == COMMAND_VERSION ? "version"
                                        : "";
}

enum command command_of(const char *word, const char *next, size_t *used)
{
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        const char *name = commands[i].name;
        const char *space = strchr(name, ' ');
        size_t first = space != NULL ? (size_t)(space - name) : strlen(name);
        if (strlen(word) != first || strncmp(word, name, first) != 0)
            continue;
        if (space != NULL && (next == NULL || strcmp(next, space + 1) != 0))
            continue;
        *used = space != NULL ? 2 : 1;
        return commands[i].command;
    }
    *used = 1;
    for (size_t i = 0; i < COUNT_OF(command_aliases); i++)
        if (strcmp(command_aliases[i].word, word) == 0)
            return command_aliases[i].command;
    enum command family = strcmp(word, "account") == 0 ? COMMAND_ACCOUNT
                          : strcmp(word, "timer") == 0 ? COMMAND_TIMER
                                                       : COMMAND_NONE;
    *used = family != COMMAND_NONE ? 1 : 0;
    return family;
}

bool command_is_family(enum command command)
{
    return command == COMMAND_ACCOUNT || command == COMMAND_TIMER;
}

const char *command_nearest(const char *typed)
{
    struct nearest best = NEAREST_INIT;
    for (size_t i = 0; i < COUNT_OF(other_words); i++)
        if (strcmp(typed, other_words[i].typed) == 0)
            return other_words[i].meant;
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        nearest_consider(&best, typed, commands[i].name);
    for (size_t i = 0; i < COUNT_OF(command_aliases); i++)
        nearest_consider(&best, typed, command_aliases[i].word);
    nearest_consider(&best, typed, "account");
    nearest_consider(&best, typed, "timer");
    return best.word;
}
