#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "tlsup/export.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef HAVE_SYS_XATTR_H
#include <sys/xattr.h>
#endif

#include "tlsup/fs.h"
#include "tlsup/log.h"
#include "tlsup/mem.h"
#include "tlsup/pkcs12.h"

#define SELINUX_LABEL "security.selinux"

enum {
    FILE_BYTES = 1024 * 1024, /* an old file of ours is far smaller */
    PASSWORD_FILE_BYTES = 4096,
    PASSWORD_BYTES = 1024,
    JAVA_PASSWORD_BYTES = 6, /* keytool takes no shorter one */
    LINKS = 40,
    OTHERS_MS = 10 * 1000, /* for another run that writes the same */
    PAUSE_MS = 50,
    LABEL_BYTES = 256,
    KEY_MODE = 0600,
    CERT_MODE = 0644,
};

/* -- what is written ---------------------------------------------------------------------------------- */

/* A file to be. */
struct piece {
    char *name; /* without directory */
    struct buf data;
    bool key;
    int fd;          /* of the temporary file; -1 = left alone */
    char *temporary; /* its name; NULL when there is none (any more) */
};

struct pieces {
    struct piece *v;
    size_t n;
};

static void pieces_clear(struct pieces *pieces)
{
    for (size_t i = 0; i < pieces->n; i++) {
        free(pieces->v[i].name);
        free(pieces->v[i].temporary);
        buf_clear(&pieces->v[i].data);
        if (pieces->v[i].fd >= 0)
            close(pieces->v[i].fd);
    }
    free(pieces->v);
    *pieces = (struct pieces){0};
}
#define AUTO_PIECES CLEANUP(pieces_clear) struct pieces

/* Takes over `name`. Valid until the next one. */
static struct buf *add_piece(struct pieces *pieces, char *name, bool key)
{
    pieces->v = mem_resize(pieces->v, pieces->n + 1, sizeof *pieces->v);
    pieces->v[pieces->n] = (struct piece){.name = name, .data = BUF_SECRET, .key = key, .fd = -1};
    return &pieces->v[pieces->n++].data;
}

/* The certificate, and how it is to be written. */
struct source {
    const char *cert_name;
    const struct export_spec *spec;
    struct key *key; /* NULL where the format has none */
    struct cert_chain *chain;
    char suffix[8]; /* "", "-rsa", "-ecdsa" */
    struct buf password;
    char *friendly_name;
};

static void source_clear(struct source *source)
{
    key_free(source->key);
    cert_chain_free(source->chain);
    buf_clear(&source->password);
    free(source->friendly_name);
}
#define AUTO_SOURCE CLEANUP(source_clear) struct source

/* "-rsa" before the last dot: "site.p12" -> "site-rsa.p12". */
static char *name_with_suffix(const char *name, const char *suffix)
{
    const char *dot = strrchr(name, '.');
    size_t len = dot == NULL || dot == name ? strlen(name) : (size_t)(dot - name);
    return mem_fmt("%.*s%s%s", (int)len, name, suffix, name + len);
}

static char *path_with_suffix(const char *path, const char *suffix)
{
    AUTO_FREE char *dir = fs_dirname(path);
    AUTO_FREE char *name = name_with_suffix(strrchr(path, '/') + 1, suffix);
    return fs_join(dir, name);
}

static bool load_key(struct store *store, int version, int part, struct source *source, struct err *err)
{
    const char *format = export_format_name(source->spec->format);
    if (!store_version_key(store, source->cert_name, version, part, &source->key, err)) {
        if (err->code == ERR_NOT_FOUND) /* the version is there: its key is elsewhere */
            err->code = ERR_CONFIG;
        return err_advise(err, "fullchain, cert and chain can be exported without it");
    }
    if (key_uri(source->key) == NULL)
        return true;
    err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, source->cert_name,
            "the private key of certificate '%s' never leaves its token, so it cannot be written as %s",
            source->cert_name, format);
    return err_advise(err, "fullchain, cert and chain can be exported without it");
}

static bool find_suffix(int part, struct source *source, struct err *err)
{
    struct cert_info info = CERT_INFO_INIT;
    if (part == 0)
        return true;
    if (!cert_chain_info(source->chain, &info, err))
        return false;
    snprintf(source->suffix, sizeof source->suffix, "%s",
             strncmp(info.key_type, "rsa", 3) == 0 ? "-rsa" : "-ecdsa");
    cert_info_clear(&info);
    return true;
}

/* -- the password ------------------------------------------------------------------------------------- */

static bool check_password_file(int fd, const char *path, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return err_errno(err, errno, path, "cannot look at %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is not a regular file", path);
    if ((st.st_uid == 0 || st.st_uid == geteuid()) && (st.st_mode & 077) == 0)
        return true;
    err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
            "others may read the password in %s (uid %ld, mode %04o)", path, (long)st.st_uid,
            (unsigned)(st.st_mode & 07777));
    return err_advise(err, "choose another password, and: chown root %s; chmod 600 %s", path, path);
}

static bool read_password_file(const char *path, struct buf *out, struct err *err)
{
    char bytes[PASSWORD_FILE_BYTES];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_errno(err, errno, path, "cannot open the password file %s", path);
    ssize_t n = -1;
    bool ok = check_password_file(fd, path, err);
    if (ok && (n = read(fd, bytes, sizeof bytes)) < 0)
        ok = err_errno(err, errno, path, "cannot read %s", path);
    close(fd);
    if (ok)
        buf_add(out, bytes, (size_t)n);
    explicit_bzero(bytes, sizeof bytes);
    return ok;
}

/* The first line. */
static bool load_password(struct source *source, struct err *err)
{
    const char *path = source->spec->password_file;
    AUTO_BUF text = BUF_SECRET;
    if (path == NULL)
        return true;
    if (!read_password_file(path, &text, err))
        return false;
    size_t len = strcspn(buf_str(&text), "\r\n");
    if (len == 0 || len > PASSWORD_BYTES || (len == text.len && text.len == PASSWORD_FILE_BYTES))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path,
                       "the first line of %s is not a password of 1 to %d bytes", path, PASSWORD_BYTES);
    if (text.data[len] == '\0' && len < text.len)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "the password in %s has a NUL in it", path);
    if (source->spec->format == EXPORT_JKS && len < JAVA_PASSWORD_BYTES)
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path,
                       "the password in %s is too short: Java wants at least %d characters", path,
                       JAVA_PASSWORD_BYTES);
    buf_add(&source->password, text.data, len);
    return true;
}

static bool load(struct store *store, const char *cert_name, int version, int part,
                 const struct export_spec *spec, struct source *out, struct err *err)
{
    bool jks = spec->format == EXPORT_JKS;
    *out = (struct source){.cert_name = cert_name, .spec = spec, .password = BUF_SECRET};
    out->friendly_name = mem_dup(spec->friendly_name != NULL ? spec->friendly_name : jks ? "1" : cert_name);
    return store_version_chain(store, cert_name, version, part, &out->chain, err) &&
           find_suffix(part, out, err) && load_password(out, err) &&
           (!export_format_has_key(spec->format) || load_key(store, version, part, out, err));
}

/* -- formats ------------------------------------------------------------------------------------------ */

static struct pkcs12_options p12_options(const struct source *source)
{
    return (struct pkcs12_options){buf_str(&source->password), source->friendly_name, source->spec->legacy};
}

static bool make_file(const struct source *source, struct pieces *out, const char *path, struct err *err)
{
    enum export_format format = source->spec->format;
    const char *slash = strrchr(path, '/');
    struct buf *data = add_piece(out, name_with_suffix(slash != NULL ? slash + 1 : path, source->suffix),
                                 export_format_has_key(format));
    switch (format) {
    case EXPORT_COMBINED:
        return key_to_pem(source->key, data, err) && cert_chain_pem(source->chain, NULL, NULL, data, err);
    case EXPORT_FULLCHAIN:
        return cert_chain_pem(source->chain, NULL, NULL, data, err);
    case EXPORT_CERT:
        return cert_chain_pem(source->chain, data, NULL, NULL, err);
    case EXPORT_CHAIN:
        return cert_chain_pem(source->chain, NULL, data, NULL, err);
    case EXPORT_KEY:
        return key_to_pem(source->key, data, err);
    case EXPORT_P12:
    case EXPORT_JKS: {
        struct pkcs12_options options = p12_options(source);
        return pkcs12_encode(source->key, source->chain, &options, data, err);
    }
    case EXPORT_PEM:
    case EXPORT_DER:
    case EXPORT_FORMATS:
        break;
    }
    return err_set(err, ERR_INTERNAL, NEXT_NONE, path, "no format of one file");
}

static bool make_pem(const struct source *source, struct pieces *out, struct err *err)
{
    const char *suffix = source->suffix;
    return key_to_pem(source->key, add_piece(out, mem_fmt("privkey%s.pem", suffix), true), err) &&
           cert_chain_pem(source->chain, NULL, add_piece(out, mem_fmt("chain%s.pem", suffix), false), NULL,
                          err) &&
           cert_chain_pem(source->chain, add_piece(out, mem_fmt("cert%s.pem", suffix), false), NULL, NULL,
                          err) &&
           cert_chain_pem(source->chain, NULL, NULL,
                          add_piece(out, mem_fmt("fullchain%s.pem", suffix), false), err);
}

/* The leaf is the last one. */
static bool make_der(const struct source *source, struct pieces *out, struct err *err)
{
    bool there = true;
    if (!pkcs8_encode(source->key, add_piece(out, mem_fmt("privkey%s.der", source->suffix), true), err))
        return false;
    for (size_t i = 1; there; i++) {
        AUTO_BUF der = BUF_INIT;
        if (!cert_der_at(source->chain, i, &der, &there, err))
            return false;
        if (there)
            buf_add(add_piece(out, mem_fmt("chain%s-%zu.der", source->suffix, i), false), der.data, der.len);
    }
    return cert_der_at(source->chain, 0, add_piece(out, mem_fmt("cert%s.der", source->suffix), false), &there,
                       err);
}

static bool make(const struct source *source, struct pieces *out, struct err *err)
{
    if (source->spec->format == EXPORT_PEM)
        return make_pem(source, out, err);
    if (source->spec->format == EXPORT_DER)
        return make_der(source, out, err);
    return make_file(source, out, source->spec->path, err);
}

/* -- whose it is to be -------------------------------------------------------------------------------- */

struct owner {
    uid_t uid;
    gid_t gid;
    bool uid_given, gid_given;
};

static bool is_number(const char *text, unsigned long *out)
{
    size_t len = strlen(text);
    *out = strtoul(text, NULL, 10);
    return len > 0 && len <= 10 && strspn(text, "0123456789") == len && *out < 0xffffffffUL;
}

static bool find_user(const char *name, bool with_group, struct owner *out, struct err *err)
{
    unsigned long number = 0;
    const struct passwd *user = getpwnam(name);
    if (user == NULL && is_number(name, &number))
        user = getpwuid((uid_t)number);
    else if (user == NULL) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, name, "there is no user '%s' on this machine", name);
        return err_advise(err, "is the service that it belongs to installed?");
    }
    out->uid_given = true;
    out->uid = user != NULL ? user->pw_uid : (uid_t)number;
    out->gid_given = with_group && user != NULL;
    if (out->gid_given)
        out->gid = user->pw_gid;
    return true;
}

static bool find_group(const char *name, struct owner *out, struct err *err)
{
    unsigned long number = 0;
    const struct group *group = getgrnam(name);
    if (group == NULL && !is_number(name, &number)) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, name, "there is no group '%s' on this machine", name);
        return err_advise(err, "is the service that it belongs to installed?");
    }
    out->gid_given = true;
    out->gid = group != NULL ? group->gr_gid : (gid_t)number;
    return true;
}

static bool find_owner(const char *text, struct owner *out, struct err *err)
{
    *out = (struct owner){.uid = geteuid(), .gid = getegid()};
    if (text == NULL)
        return true;
    AUTO_FREE char *user = mem_ndup(text, strcspn(text, ":"));
    const char *group = strchr(text, ':');
    return (user[0] == '\0' || find_user(user, group == NULL, out, err)) &&
           (group == NULL || find_group(group + 1, out, err));
}

static const char *name_of(uid_t uid, char out[64])
{
    const struct passwd *user = getpwuid(uid);
    if (user != NULL)
        snprintf(out, 64, "%s", user->pw_name);
    else
        snprintf(out, 64, "uid %ld", (long)uid);
    return out;
}

/* -- the way there ------------------------------------------------------------------------------------ */

#ifndef O_PATH
#define O_PATH O_RDONLY
#endif

/* A directory that is open, and what is still to be gone. */
struct way {
    int fd;
    char *at;     /* as far as we are */
    char *rest;   /* from there on */
    bool trusted; /* nobody but root and ourselves can change what is in it */
    int links;
};

static void way_clear(struct way *way)
{
    if (way->fd >= 0)
        close(way->fd);
    free(way->at);
    free(way->rest);
    *way = (struct way){.fd = -1};
}
#define AUTO_WAY CLEANUP(way_clear) struct way

static bool refuse_directory(const struct way *way, const char *who, struct err *err)
{
    err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, way->at,
            "%s may change what is in %s, and so could put another file, or a link, in place of the one that "
            "is written",
            who, way->at);
    return err_advise(
        err, "write into a directory that root alone may change, or say whose the file is to be (owner)");
}

/* Who else may change what is in the directory at which we are? */
static bool judge(struct way *way, const struct owner *owner, struct err *err)
{
    struct stat st;
    char name[64];
    if (fstat(way->fd, &st) != 0)
        return err_errno(err, errno, way->at, "cannot look at %s", way->at);
    bool theirs = st.st_uid != 0 && st.st_uid != geteuid();
    bool group = (st.st_mode & S_IWGRP) != 0 && st.st_gid != 0 && st.st_gid != getegid(),
         all = (st.st_mode & S_IWOTH) != 0;
    bool sticky = (st.st_mode & S_ISVTX) != 0;
    way->trusted = !theirs && !group && !all;
    if (way->trusted || geteuid() != 0)
        return true;
    if (theirs && !(owner->uid_given && st.st_uid == owner->uid))
        return refuse_directory(way, name_of(st.st_uid, name), err);
    if (group && !sticky && !(owner->gid_given && st.st_gid == owner->gid)) {
        const struct group *found = getgrgid(st.st_gid);
        snprintf(name, sizeof name, "the group %s", found != NULL ? found->gr_name : "that it belongs to");
        return refuse_directory(way, name, err);
    }
    return !all || sticky || refuse_directory(way, "everybody", err);
}

static void set_text(char **field, char *text)
{
    free(*field);
    *field = text;
}

static bool way_from_root(struct way *way, const char *rest, const struct owner *owner, struct err *err)
{
    if (way->fd >= 0)
        close(way->fd);
    way->fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    set_text(&way->at, mem_dup("/"));
    set_text(&way->rest, mem_dup(rest));
    return way->fd >= 0 ? judge(way, owner, err) : err_errno(err, errno, "/", "cannot open /");
}

static bool no_directory(const struct way *way, const char *path, int why, struct err *err)
{
    (void)way;
    err_errno(err, why, path, "cannot go into %s", path);
    return why == ENOENT ? err_advise(err, "make the directory first: mkdir -p %s", path) : false;
}

static bool enter(struct way *way, const char *name, const struct owner *owner, struct err *err)
{
    AUTO_FREE char *path = fs_join(way->at, name);
    int fd = openat(way->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return no_directory(way, path, errno, err);
    close(way->fd);
    way->fd = fd;
    set_text(&way->at, mem_dup(path));
    return judge(way, owner, err);
}

/* The link `name` in the directory at which we are; `rest` comes behind it. */
static bool follow(struct way *way, const char *name, const char *rest, const struct owner *owner,
                   struct err *err)
{
    char target[4096];
    AUTO_FREE char *path = fs_join(way->at, name);
    ssize_t n = readlinkat(way->fd, name, target, sizeof target - 1);
    if (n < 0)
        return err_errno(err, errno, path, "cannot read the link %s", path);
    target[n] = '\0';
    if (!way->trusted) {
        err_set(err, ERR_PERMISSION, NEXT_FIX_CONFIG, path,
                "%s is a symbolic link in a directory that others than root may change: it is not followed",
                path);
        return err_advise(err, "give the path that it leads to: %s", target);
    }
    if (++way->links > LINKS)
        return err_errno(err, ELOOP, path, "cannot follow %s", path);
    char *whole = mem_fmt("%s%s%s", target, rest[0] != '\0' ? "/" : "", rest);
    if (target[0] != '/') {
        set_text(&way->rest, whole);
        return true;
    }
    bool ok = way_from_root(way, whole, owner, err);
    free(whole);
    return ok;
}

/* Take the next name off the rest; NULL when there is none. */
static char *next_name(struct way *way)
{
    const char *start = way->rest + strspn(way->rest, "/");
    size_t len = strcspn(start, "/");
    char *name = len > 0 ? mem_ndup(start, len) : NULL;
    start += len;
    set_text(&way->rest, mem_dup(start + strspn(start, "/")));
    return name;
}

static bool is_link(const struct way *way, const char *name)
{
    struct stat st;
    return fstatat(way->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
}

/* Go to the directory of `path`; *last is the name in it, which is no link. */
static bool go(const char *path, const struct owner *owner, struct way *way, char **last, struct err *err)
{
    if (!way_from_root(way, path, owner, err))
        return false;
    for (;;) {
        AUTO_FREE char *name = next_name(way);
        AUTO_FREE char *rest = mem_dup(way->rest);
        if (name == NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
            if (rest[0] == '\0')
                return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is not the path of a file", path);
            if (!enter(way, name, owner, err))
                return false;
        } else if (is_link(way, name)) {
            if (!follow(way, name, rest, owner, err))
                return false;
        } else if (rest[0] == '\0') {
            *last = mem_dup(name);
            return true;
        } else if (!enter(way, name, owner, err)) {
            return false;
        }
    }
}

/* The directory of pem and der is made where it is missing. */
static bool go_into(const char *path, const struct owner *owner, struct way *way, struct err *err)
{
    AUTO_FREE char *name = NULL;
    if (!go(path, owner, way, &name, err))
        return false;
    if (mkdirat(way->fd, name, 0755) == 0)
        log_info("made the directory %s", path);
    else if (errno != EEXIST)
        return err_errno(err, errno, path, "cannot make the directory %s", path);
    return enter(way, name, owner, err);
}

/* -- one file ----------------------------------------------------------------------------------------- */

/* What stands at the place now. */
struct former {
    struct stat st;
    struct buf data;
    char label[LABEL_BYTES];
    size_t label_bytes;
    bool exists;
};

static void former_clear(struct former *former)
{
    buf_clear(&former->data);
}

static void read_label(int fd, struct former *out)
{
#ifdef HAVE_SYS_XATTR_H
    ssize_t n = fgetxattr(fd, SELINUX_LABEL, out->label, sizeof out->label);
    out->label_bytes = n > 0 ? (size_t)n : 0;
#else
    (void)fd, (void)out;
#endif
}

static void read_all(int fd, struct buf *out)
{
    char bytes[16384];
    ssize_t n;
    while (out->len <= FILE_BYTES && (n = read(fd, bytes, sizeof bytes)) > 0)
        buf_add(out, bytes, (size_t)n);
    explicit_bzero(bytes, sizeof bytes);
}

/* Its content is only compared: one that cannot be read is another one. */
static bool look_at_former(const struct way *way, const char *name, struct former *out, struct err *err)
{
    AUTO_FREE char *path = fs_join(way->at, name);
    if (fstatat(way->fd, name, &out->st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno == ENOENT || err_errno(err, errno, path, "cannot look at %s", path);
    if (S_ISDIR(out->st.st_mode)) {
        err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is a directory", path);
        return err_advise(err, "give the path of a file in it, or one of the formats pem and der");
    }
    if (!S_ISREG(out->st.st_mode))
        return err_set(err, ERR_CONFIG, NEXT_FIX_CONFIG, path, "%s is not a regular file: it is left alone",
                       path);
    out->exists = true;
    int fd = openat(way->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return true;
    read_all(fd, &out->data);
    read_label(fd, out);
    close(fd);
    return true;
}

struct wanted {
    uid_t uid;
    gid_t gid;
    mode_t mode;
};

/* What is not said is as it was, where nobody but root can have made it so. */
static struct wanted wanted_of(const struct way *way, const struct former *former,
                               const struct export_spec *spec, const struct owner *owner, bool key)
{
    struct wanted wanted = {owner->uid, owner->gid, key ? KEY_MODE : CERT_MODE};
    bool inherits = former->exists && way->trusted;
    mode_t old = former->st.st_mode & 07777, wide = key ? 0640 : 0644;
    bool said = spec->mode != 0 && (key || !export_format_is_directory(spec->format));
    if (inherits && !owner->uid_given)
        wanted.uid = former->st.st_uid;
    if (inherits && !owner->gid_given)
        wanted.gid = former->st.st_gid;
    if (said)
        wanted.mode = spec->mode;
    else if (inherits && (old & ~wide) == 0 && (old & 0400) != 0)
        wanted.mode = old;
    return wanted;
}

/* To open a PKCS#12 takes as long as whoever made it wants. */
static bool made_by_root_or_us(const struct stat *st)
{
    return (st->st_uid == 0 || st->st_uid == geteuid()) && (st->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static bool same_content(const struct source *source, const struct former *former, const struct piece *piece)
{
    const struct buf *old = &former->data;
    if (export_format_is_pkcs12(source->spec->format)) {
        if (!made_by_root_or_us(&former->st))
            return false;
        struct pkcs12_options options = p12_options(source);
        return pkcs12_says(buf_str(old), old->len, source->key, source->chain, &options);
    }
    return old->len == piece->data.len && memcmp(buf_str(old), buf_str(&piece->data), old->len) == 0;
}

static bool same_file(const struct former *former, const struct wanted *wanted)
{
    return former->exists && former->st.st_uid == wanted->uid && former->st.st_gid == wanted->gid &&
           (former->st.st_mode & 07777) == wanted->mode;
}

/* A new file of root's that nobody else can open; then its owner's; then with its mode; then with its
 * content. */
static bool fill(struct piece *piece, const struct wanted *wanted, const struct former *former, bool trusted,
                 const char *path, struct err *err)
{
    char name[64];
    if ((wanted->uid != geteuid() || wanted->gid != getegid()) &&
        fchown(piece->fd, wanted->uid, wanted->gid) != 0) {
        err_errno(err, errno, path, "cannot give %s to %s (uid %ld, gid %ld)", path,
                  name_of(wanted->uid, name), (long)wanted->uid, (long)wanted->gid);
        return geteuid() != 0 ? err_advise(err, "only root can do that") : false;
    }
#ifdef HAVE_SYS_XATTR_H
    if (trusted && former->label_bytes > 0 &&
        fsetxattr(piece->fd, SELINUX_LABEL, former->label, former->label_bytes, 0) != 0)
        log_debug("%s cannot be labelled as it was", path);
#else
    (void)trusted, (void)former;
#endif
    return (fchmod(piece->fd, wanted->mode) == 0 &&
            fs_write_all(piece->fd, buf_str(&piece->data), piece->data.len) && fsync(piece->fd) == 0) ||
           err_errno(err, errno, path, "cannot write %s", path);
}

/* Another run that writes the same holds a lock on its temporary file: until it is done, or dead. */
static bool wait_for_others(const struct way *way, const char *temporary, const char *path, struct err *err)
{
    int fd = openat(way->fd, temporary, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool locked = fd >= 0;
    for (int waited_ms = 0; locked && waited_ms <= OTHERS_MS; waited_ms += PAUSE_MS) {
        locked = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
        if (locked)
            usleep(PAUSE_MS * 1000);
    }
    if (fd >= 0)
        close(fd);
    if (!locked)
        return true;
    err_set(err, ERR_TIMEOUT, NEXT_RETRY_LATER, path, "another run of tlsup is writing %s", path);
    return err_advise(err, "try again when it is done");
}

static bool prepare(const struct way *way, const struct source *source, const struct owner *owner,
                    struct piece *piece, struct err *err)
{
    CLEANUP(former_clear) struct former former = {.data = BUF_SECRET};
    AUTO_FREE char *path = fs_join(way->at, piece->name);
    AUTO_FREE char *temporary = mem_fmt(".%s.tlsup-new", piece->name);
    if (!wait_for_others(way, temporary, path, err) || !look_at_former(way, piece->name, &former, err))
        return false;
    struct wanted wanted = wanted_of(way, &former, source->spec, owner, piece->key);
    if (same_file(&former, &wanted) && same_content(source, &former, piece)) {
        log_debug("%s says the same already", path);
        return true;
    }
    if (unlinkat(way->fd, temporary, 0) != 0 && errno != ENOENT)
        return err_errno(err, errno, path, "cannot remove a left-over of %s", path);
    piece->fd = openat(way->fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (piece->fd < 0)
        return err_errno(err, errno, path, "cannot write %s", path);
    piece->temporary = mem_dup(temporary);
    (void)flock(piece->fd, LOCK_EX | LOCK_NB);
    return fill(piece, &wanted, &former, way->trusted, path, err);
}

static bool put_in_place(const struct way *way, struct piece *piece, struct err *err)
{
    AUTO_FREE char *path = fs_join(way->at, piece->name);
    if (piece->temporary == NULL)
        return true;
    if (renameat(way->fd, piece->temporary, way->fd, piece->name) != 0)
        return err_errno(err, errno, path, "cannot put the new %s in place", path);
    free(piece->temporary);
    piece->temporary = NULL;
    log_info("wrote %s", path);
    return true;
}

/* -- all of them -------------------------------------------------------------------------------------- */

/* A chain that was longer once has left some. */
static bool remove_old_links(const struct way *way, const struct source *source, size_t from, struct err *err)
{
    for (size_t i = from;; i++) {
        AUTO_FREE char *name = mem_fmt("chain%s-%zu.der", source->suffix, i);
        AUTO_FREE char *path = fs_join(way->at, name);
        if (unlinkat(way->fd, name, 0) != 0)
            return errno == ENOENT || err_errno(err, errno, path, "cannot remove %s", path);
    }
}

static bool sync_directory(const struct way *way, struct err *err)
{
    int fd = openat(way->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == EACCES || err_errno(err, errno, way->at, "cannot open directory %s", way->at);
    bool ok = fsync(fd) == 0 || errno == EINVAL || errno == EROFS;
    int why = errno;
    close(fd);
    return ok || err_errno(err, why, way->at, "cannot sync directory %s", way->at);
}

static bool write_pieces(const struct way *way, const struct source *source, const struct owner *owner,
                         struct pieces *pieces, struct err *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < pieces->n; i++)
        ok = prepare(way, source, owner, &pieces->v[i], err);
    for (size_t i = 0; ok && i < pieces->n; i++)
        ok = put_in_place(way, &pieces->v[i], err);
    for (size_t i = 0; i < pieces->n; i++)
        if (pieces->v[i].temporary != NULL)
            (void)unlinkat(way->fd, pieces->v[i].temporary, 0);
    if (ok && source->spec->format == EXPORT_DER)
        ok = remove_old_links(way, source, pieces->n - 1, err);
    return ok && sync_directory(way, err);
}

static bool write_to_files(const struct source *source, struct pieces *pieces, struct err *err)
{
    const char *path = source->spec->path;
    AUTO_WAY way = {.fd = -1};
    AUTO_FREE char *name = NULL;
    struct owner owner;
    if (!find_owner(source->spec->owner, &owner, err))
        return false;
    if (export_format_is_directory(source->spec->format))
        return go_into(path, &owner, &way, err) && write_pieces(&way, source, &owner, pieces, err);
    AUTO_FREE char *whole = path_with_suffix(path, source->suffix);
    if (!go(whole, &owner, &way, &name, err))
        return false;
    set_text(&pieces->v[0].name, mem_dup(name));
    return write_pieces(&way, source, &owner, pieces, err);
}

static bool write_to_output(const struct pieces *pieces, struct err *err)
{
    const struct buf *data = &pieces->v[0].data;
    return (fflush(stdout) == 0 && fs_write_all(STDOUT_FILENO, buf_str(data), data->len)) ||
           err_errno(err, errno, NULL, "cannot write to standard output");
}

bool export_write(struct store *store, const char *cert_name, int version, int part,
                  const struct export_spec *spec, struct err *err)
{
    AUTO_SOURCE source = {0};
    AUTO_PIECES pieces = {0};
    if (!export_spec_check(spec, err) || !load(store, cert_name, version, part, spec, &source, err) ||
        !make(&source, &pieces, err))
        return false;
    return strcmp(spec->path, "-") == 0 ? write_to_output(&pieces, err)
                                        : write_to_files(&source, &pieces, err);
}

bool export_path(struct store *store, const char *cert_name, int version, int part,
                 const struct export_spec *spec, char **path, struct err *err)
{
    AUTO_SOURCE source = {.cert_name = cert_name, .spec = spec};
    if (!store_version_chain(store, cert_name, version, part, &source.chain, err) ||
        !find_suffix(part, &source, err))
        return false;
    if (strcmp(spec->path, "-") == 0)
        *path = NULL;
    else if (export_format_is_directory(spec->format))
        *path = mem_fmt("%s/privkey%s.%s", spec->path, source.suffix, export_format_name(spec->format));
    else
        *path = path_with_suffix(spec->path, source.suffix);
    return true;
}
