#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "status.h"

#include <string.h>

#include "tlsup/clock.h"
#include "tlsup/fs.h"
#include "tlsup/mem.h"

enum { LABEL_COLUMNS = 14, BAR_CELLS = 20 };

static void add_field(struct buf *out, const char *label, const char *text)
{
    if (text[0] == '\0')
        return;
    buf_addf(out, "  %s%-*s%s", output_style(STYLE_DIM), LABEL_COLUMNS, label, output_style(STYLE_PLAIN));
    /* piped, a line stays one, for grep */
    output_wrap(out, text, LABEL_COLUMNS + 2, LABEL_COLUMNS + 2,
                output_columns() > 0 ? output_columns() : SIZE_MAX);
    buf_addc(out, '\n');
}

static void add_said(struct buf *out, const char *label, void (*say)(const struct entry *, struct buf *),
                     const struct entry *entry)
{
    AUTO_BUF text = BUF_INIT;
    say(entry, &text);
    add_field(out, label, buf_str(&text));
}

static void say_moment(struct buf *out, int64_t when_s)
{
    say_date(out, when_s, true);
    buf_adds(out, ", ");
    say_distance(out, when_s);
}

static void add_moment(struct buf *out, const char *label, int64_t when_s)
{
    AUTO_BUF text = BUF_INIT;
    if (when_s == 0)
        return;
    say_moment(&text, when_s);
    add_field(out, label, buf_str(&text));
}

/* -- the certificate --------------------------------------------------------------------------------- */

static void add_life(struct buf *out, const struct entry *entry)
{
    AUTO_BUF bar = BUF_INIT;
    int left = 100 - life_percent(entry);
    if (!entry->has_info)
        return;
    say_life_bar(entry, BAR_CELLS, &bar);
    buf_addf(out, "  %s%-*s%s%s%s%s %d%% left\n", output_style(STYLE_DIM), LABEL_COLUMNS, "life",
             output_style(STYLE_PLAIN), output_style(life_style(entry)), buf_str(&bar),
             output_style(STYLE_PLAIN), left);
}

static void add_certificate(struct buf *out, const char *label, const struct cert_info *info)
{
    AUTO_BUF text = BUF_INIT;
    buf_addf(&text, "%s, serial %s", info->key_type, info->serial);
    add_field(out, label, buf_str(&text));
    add_field(out, "  SHA-256", info->sha256);
    add_field(out, "  key's pin", info->spki);
}

static void say_chain(const struct entry *entry, struct buf *out)
{
    for (size_t i = 0; i < entry->issuers.n; i++)
        buf_addf(out, "%s%s", i > 0 ? (output_utf8() ? " ← " : " <- ") : "",
                 entry->issuers.v[i][0] != '\0' ? entry->issuers.v[i] : "?");
}

static void say_ca_exactly(const struct entry *entry, struct buf *out)
{
    say_ca(entry, out);
    buf_addf(out, ", %s", ca_url_of(entry));
}

static void say_account(const struct entry *entry, struct buf *out)
{
    buf_adds(out, entry->state.issued_account);
    if (entry->has_config && entry->config.account != NULL)
        buf_addf(out, "%s(called %s)", out->len > 0 ? " " : "", entry->config.account);
}

static void say_profile(const struct entry *entry, struct buf *out)
{
    if (entry->has_config && entry->config.profile != NULL)
        buf_addf(out, "%s%s", entry->config.profile, entry->config.profile_required ? ", required" : "");
}

/* -- renewal ----------------------------------------------------------------------------------------- */

static void say_renewal_exactly(const struct entry *entry, struct buf *out)
{
    struct next_renewal next;
    next_of(entry, &next);
    if (next.at_s > 0) {
        say_date(out, next.at_s, true);
        buf_adds(out, ", ");
    }
    say_renewal_why(entry, out);
}

static void say_window(const struct entry *entry, struct buf *out)
{
    const struct ari_state *ari = &entry->state.ari;
    if (ari->start_s == 0 || !entry->due_by_ca)
        return;
    say_date(out, ari->start_s, true);
    buf_adds(out, " to ");
    say_date(out, ari->end_s, true);
    buf_adds(out, "; chosen in it: ");
    say_date(out, ari->chosen_s, true);
    if (ari->next_check_s > clock_now_s()) {
        buf_adds(out, "; asked again ");
        say_distance(out, ari->next_check_s);
    }
}

static void add_orders(struct buf *out, const struct entry *entry)
{
    for (size_t i = 0; i < COUNT_OF(entry->state.orders); i++) {
        const struct order_state *order = &entry->state.orders[i];
        AUTO_BUF text = BUF_INIT;
        if (order->url[0] == '\0')
            continue;
        buf_adds(&text, order->url);
        if (order->created_s > 0) {
            buf_adds(&text, ", made ");
            say_distance(&text, order->created_s);
        }
        buf_adds(&text, "; the next run goes on with it");
        add_field(out, "order", buf_str(&text));
    }
}

static void add_versions(struct buf *out, const struct entry *entry)
{
    for (size_t i = entry->n_versions; i-- > 0;) {
        const struct entry_version *version = &entry->versions[i];
        AUTO_BUF text = BUF_INIT;
        buf_addf(&text, "%d", version->number);
        if (version->has_info) {
            buf_adds(&text, ", ");
            say_date(&text, version->info.not_before_s, false);
            buf_adds(&text, " to ");
            say_date(&text, version->info.not_after_s, false);
        } else {
            buf_adds(&text, ", cannot be read");
        }
        buf_adds(&text, version->number == entry->version ? ", the live one" : "");
        add_field(out, i + 1 == entry->n_versions ? "versions" : "", buf_str(&text));
    }
}

/* -- where it goes ----------------------------------------------------------------------------------- */

/* FILE:LINE of every site, one a line. */
static void add_places(struct buf *out, const struct entry *entry)
{
    for (size_t i = 0; is_installed_by_us(entry) && i < entry->state.places.n; i++) {
        AUTO_FREE char *place = mem_dup(entry->state.places.v[i]);
        printable(place);
        add_field(out, i == 0 ? "installed in" : "", place);
    }
}

static void add_deployments(struct buf *out, const struct entry *entry)
{
    static const char *const labels[DEPLOYMENT_KINDS] = {
        [DEPLOYMENT_HOOK] = "deploy hook", [DEPLOYMENT_EXPORT] = "export", [DEPLOYMENT_VERIFY] = "seen at"};
    for (size_t i = 0; i < entry->state.n_deployments; i++) {
        AUTO_BUF text = BUF_INIT;
        say_deployment(&entry->state.deployments[i], &text);
        add_field(out, labels[entry->state.deployments[i].kind], buf_str(&text));
    }
}

static void add_live_file(struct buf *out, const char *label, const struct entry *entry, const char *file)
{
    AUTO_FREE char *path = fs_join(entry->live_path, file);
    if (entry->version > 0)
        add_field(out, label, path);
}

static void add_files(struct buf *out, const struct entry *entry)
{
    add_live_file(out, "certificate", entry, "fullchain.pem");
    if (entry->has_config && entry->config.key != NULL)
        add_field(out, "private key", "on a token");
    else if (entry->has_config && entry->config.csr != NULL)
        add_field(out, "request", entry->config.csr);
    else
        add_live_file(out, "private key", entry, "privkey.pem");
    if (entry->has_config && entry->config.dual) {
        bool rsa = strncmp(key_type_name(entry->config.second_key_type), "rsa", 3) == 0;
        add_live_file(out, "second", entry, rsa ? "fullchain-rsa.pem" : "fullchain-ecdsa.pem");
        add_live_file(out, "", entry, rsa ? "privkey-rsa.pem" : "privkey-ecdsa.pem");
    }
    add_field(out, "configuration", entry->config_path);
    add_field(out, "state", entry->state_path);
}

static void add_settings(struct buf *out, const struct entry *entry)
{
    for (size_t i = 0; i < entry->settings.n; i++)
        add_field(out, i == 0 ? "settings" : "", entry->settings.v[i]);
}

static void add_troubles(struct buf *out, const struct entry *entry)
{
    struct troubles troubles;
    troubles_of(entry, &troubles);
    for (size_t i = 0; i < troubles.n; i++) {
        add_field(out, "trouble", troubles.v[i].what);
        add_field(out, "what to do", troubles.v[i].todo);
    }
    troubles_clear(&troubles);
}

void status_page(const struct entry *entry, struct buf *out)
{
    const struct cert_info *info = &entry->info;
    enum output_style style = health_style(entry->health);
    buf_addf(out, "%s%s%s %s%s%s: %s%s%s\n", output_style(style), health_mark(entry->health),
             output_style(STYLE_PLAIN), output_style(STYLE_BOLD), entry->name, output_style(STYLE_PLAIN),
             output_style(style), health_word(entry->health), output_style(STYLE_PLAIN));
    add_troubles(out, entry);
    add_said(out, "names", say_names, entry);
    add_life(out, entry);
    add_moment(out, "expires", info->not_after_s);
    add_said(out, "renewal", say_renewal_exactly, entry);
    add_said(out, "CA's window", say_window, entry);
    add_field(out, "explanation", entry->state.ari.explanation_url);
    add_orders(out, entry);
    add_said(out, "served by", say_served, entry);
    add_places(out, entry);
    add_deployments(out, entry);
    if (entry->has_info)
        add_certificate(out, "key", info);
    else
        add_said(out, "key", say_key, entry);
    if (entry->has_second)
        add_certificate(out, "second key", &entry->second);
    add_moment(out, "valid from", info->not_before_s);
    add_field(out, "issuer", info->issuer);
    add_said(out, "chain", say_chain, entry);
    add_said(out, "profile", say_profile, entry);
    add_said(out, "CA", say_ca_exactly, entry);
    add_said(out, "account", say_account, entry);
    add_moment(out, "DNS record to", entry->state.persist_until_s);
    add_versions(out, entry);
    add_files(out, entry);
    add_settings(out, entry);
}
