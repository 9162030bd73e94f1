"""Where other systems have their web server's configuration, as trees that Debian's programs serve; and a person's own places."""

import pathlib
import shutil
import subprocess

from . import machine, web

FEDORA_NGINX = """user www-data;
worker_processes auto;
error_log /var/log/nginx/error.log notice;
pid /run/nginx.pid;

include /usr/share/nginx/modules/*.conf;

events {
    worker_connections 1024;
}

http {
    log_format  main  '$remote_addr - $remote_user [$time_local] "$request" '
                      '$status $body_bytes_sent "$http_referer" '
                      '"$http_user_agent" "$http_x_forwarded_for"';

    access_log  /var/log/nginx/access.log  main;

    sendfile            on;
    tcp_nopush          on;
    keepalive_timeout   65;
    types_hash_max_size 4096;

    include             /etc/nginx/mime.types;
    default_type        application/octet-stream;

    include /etc/nginx/conf.d/*.conf;

    server {
        listen       80;
        listen       [::]:80;
        server_name  _;
        root         /usr/share/nginx/html;

        include /etc/nginx/default.d/*.conf;
    }

#    server {
#        listen       443 ssl;
#        listen       [::]:443 ssl;
#        http2        on;
#        server_name  _;
#        ssl_certificate "/etc/pki/nginx/server.crt";
#        ssl_certificate_key "/etc/pki/nginx/private/server.key";
#    }
}
"""

# conf.d is included outside of http here: a site in it would end the server.
ALPINE_NGINX = """user www-data;
worker_processes auto;
pcre_jit on;
error_log /var/log/nginx/error.log warn;
pid /run/nginx.pid;
include /etc/nginx/modules/*.conf;
include /etc/nginx/conf.d/*.conf;

events {
	worker_connections 1024;
}

http {
	include /etc/nginx/mime.types;
	default_type application/octet-stream;
	server_tokens off;
	client_max_body_size 1m;
	sendfile on;
	tcp_nopush on;
	ssl_protocols TLSv1.2 TLSv1.3;
	ssl_prefer_server_ciphers on;
	ssl_session_cache shared:SSL:2m;
	ssl_session_timeout 1h;
	ssl_session_tickets off;
	gzip_vary on;
	map $http_upgrade $connection_upgrade {
		default upgrade;
		'' close;
	}
	log_format main '$remote_addr - $remote_user [$time_local] "$request" '
			'$status $body_bytes_sent "$http_referer" '
			'"$http_user_agent" "$http_x_forwarded_for"';
	access_log /var/log/nginx/access.log main;
	include /etc/nginx/http.d/*.conf;
}
"""

ALPINE_DEFAULT = """server {
	listen 80 default_server;
	listen [::]:80 default_server;

	location / {
		return 404;
	}

	location = /404.html {
		internal;
	}
}
"""

FREEBSD_NGINX = """#user  nobody;
worker_processes  1;
error_log  /var/log/nginx/error.log;
pid /run/nginx.pid;

events {
    worker_connections  1024;
}

http {
    include       mime.types;
    default_type  application/octet-stream;
    sendfile        on;
    keepalive_timeout  65;

    server {
        listen       80;
        server_name  localhost;

        location / {
            root   /usr/local/etc/nginx/www;
            index  index.html index.htm;
        }

        error_page   500 502 503 504  /50x.html;
        location = /50x.html {
            root   /usr/local/etc/nginx/www;
        }
    }
%s
    # HTTPS server
    #
    #server {
    #    listen       443 ssl;
    #    server_name  localhost;
    #    ssl_certificate      cert.pem;
    #}
}
"""

PLAIN_NGINX = """user www-data;
worker_processes 1;
pid {place}/nginx.pid;
error_log {place}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    include {place}/sites/*.conf;
}}
"""

HTTPD = """ServerRoot "/etc/httpd"
Listen 80
Include conf.modules.d/*.conf
User www-data
Group www-data
ServerAdmin root@localhost
ServerName e2e.test
PidFile /run/httpd/httpd.pid
<Directory />
    AllowOverride none
    Require all denied
</Directory>
DocumentRoot "/var/www/html"
<Directory "/var/www">
    AllowOverride None
    Require all granted
</Directory>
<IfModule dir_module>
    DirectoryIndex index.html
</IfModule>
<Files ".ht*">
    Require all denied
</Files>
ErrorLog "logs/error_log"
LogLevel warn
<IfModule mime_module>
    TypesConfig /etc/mime.types
</IfModule>
EnableSendfile on
IncludeOptional conf.d/*.conf
"""

# What Fedora's mod_ssl package brings.
HTTPD_SSL = """Listen 443 https
SSLSessionCache         shmcb:/run/httpd/sslcache(512000)
SSLSessionCacheTimeout  300
SSLCryptoDevice builtin

<VirtualHost _default_:443>
ErrorLog logs/ssl_error_log
LogLevel warn
SSLEngine on
SSLHonorCipherOrder on
SSLCertificateFile {certificate}
SSLCertificateKeyFile {key}
<FilesMatch "\\.(cgi|shtml|phtml|php)$">
    SSLOptions +StdEnvVars
</FilesMatch>
</VirtualHost>
"""

HTTPD_MODULES = {"00-base.conf": "access_compat alias authn_core authz_core authz_host authz_user auth_basic autoindex dir env headers mime rewrite "
                                 "setenvif socache_shmcb status",
                 "00-mpm.conf": "mpm_event", "00-ssl.conf": "ssl", "10-h2.conf": "http2"}


ALPINE_HTTPD = """ServerTokens OS
ServerRoot /var/www
ServerSignature On
PidFile /run/apache2/httpd.pid
Listen 80
{modules}
<IfModule unixd_module>
User www-data
Group www-data
</IfModule>
ServerAdmin you@example.com
ServerName e2e.test
<Directory />
    AllowOverride none
    Require all denied
</Directory>
DocumentRoot "/var/www/html"
<Directory "/var/www">
    Options Indexes FollowSymLinks
    AllowOverride None
    Require all granted
</Directory>
<IfModule dir_module>
    DirectoryIndex index.html
</IfModule>
ErrorLog /var/log/apache2/error.log
LogLevel warn
<IfModule mime_module>
    TypesConfig /etc/mime.types
</IfModule>
IncludeOptional /etc/apache2/conf.d/*.conf
"""

FREEBSD_HTTPD = """ServerRoot "/usr/local"
Listen 80
PidFile /run/apache2/httpd.pid
{modules}
#LoadModule socache_shmcb_module /usr/lib/apache2/modules/mod_socache_shmcb.so
#LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
#LoadModule http2_module /usr/lib/apache2/modules/mod_http2.so
<IfModule unixd_module>
User www-data
Group www-data
</IfModule>
ServerAdmin you@example.com
ServerName e2e.test
<Directory />
    AllowOverride none
    Require all denied
</Directory>
DocumentRoot "/var/www/html"
<Directory "/var/www">
    AllowOverride None
    Require all granted
</Directory>
<IfModule dir_module>
    DirectoryIndex index.html
</IfModule>
ErrorLog "/var/log/apache2/error.log"
<IfModule mime_module>
    TypesConfig /etc/mime.types
</IfModule>
#Include etc/apache24/extra/httpd-ssl.conf
<IfModule ssl_module>
SSLRandomSeed startup builtin
SSLRandomSeed connect builtin
</IfModule>
Include etc/apache24/Includes/*.conf
"""

COMMON_MODULES = ("access_compat alias authn_core authz_core authz_host authz_user auth_basic autoindex dir env headers mime setenvif status "
                  "mpm_event").split()


class NginxAt(web.Nginx):
    """A tree of its own, served with these arguments; new sites are written below `sites`."""

    def __init__(self, tree, sites, arguments=(), pid_file="/run/nginx.pid"):
        self.tree, self.sites, self.arguments, self.pid_file = str(tree), pathlib.Path(sites), list(arguments), str(pid_file)

    def control(self, verb):
        return machine.run("/usr/sbin/nginx", *self.arguments, *([] if verb == "start" else ["-s", verb]))

    def test(self):
        return subprocess.run(["/usr/sbin/nginx", "-t", *self.arguments], capture_output=True, text=True)

    def add_site(self, title, text):
        path = self.sites / f"{title}.conf"
        path.write_text(text)
        return path


class Httpd(web.Apache):
    """Debian's program on another system's tree."""

    def __init__(self, tree, sites, arguments, pid_file):
        self.tree, self.sites, self.arguments, self.pid_file = str(tree), pathlib.Path(sites), arguments, pid_file

    def control(self, verb):
        return machine.run("/usr/sbin/apache2", *self.arguments, "-k", "graceful" if verb == "reload" else verb)

    def test(self):
        return subprocess.run(["/usr/sbin/apache2", *self.arguments, "-t"], capture_output=True, text=True)

    def add_site(self, title, text):
        path = self.sites / f"{title}.conf"
        path.write_text(text.replace("    ErrorLog ${APACHE_LOG_DIR}/error.log\n", ""))
        return path


def emptied(directory):
    for entry in list(pathlib.Path(directory).iterdir()):
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def keep_mime_types():
    text = pathlib.Path("/etc/nginx/mime.types").read_text()
    emptied("/etc/nginx")
    pathlib.Path("/etc/nginx/mime.types").write_text(text)


def fedora():
    keep_mime_types()
    for name in ("conf.d", "default.d"):
        pathlib.Path("/etc/nginx", name).mkdir()
    pathlib.Path("/etc/nginx/nginx.conf").write_text(FEDORA_NGINX)
    return NginxAt("/etc/nginx", "/etc/nginx/conf.d")


def alpine():
    keep_mime_types()
    for name in ("conf.d", "http.d", "modules"):
        pathlib.Path("/etc/nginx", name).mkdir()
    pathlib.Path("/etc/nginx/nginx.conf").write_text(ALPINE_NGINX)
    pathlib.Path("/etc/nginx/http.d/default.conf").write_text(ALPINE_DEFAULT)
    return NginxAt("/etc/nginx", "/etc/nginx/http.d")


def freebsd(servers=""):
    """One file; its directory must be writable. `servers`: more of them, in that file."""
    place = pathlib.Path("/usr/local/etc/nginx")
    (place / "www").mkdir(parents=True)
    shutil.copy("/etc/nginx/mime.types", place / "mime.types")
    (place / "www/index.html").write_text(machine.PAGE)
    (place / "nginx.conf").write_text(FREEBSD_NGINX % servers)
    emptied("/etc/nginx")
    return NginxAt(place, place, ["-c", str(place / "nginx.conf")])


def nginx_of_a_person(place, arguments=None):
    """A server that somebody starts with -c, from a directory of their own."""
    place = pathlib.Path(place)
    (place / "sites").mkdir(parents=True)
    (place / "nginx.conf").write_text(PLAIN_NGINX.format(place=place))
    return NginxAt(place, place / "sites", arguments or ["-c", str(place / "nginx.conf")], place / "nginx.pid")


def httpd(certificate, key):
    """Fedora's Apache with mod_ssl installed."""
    shutil.rmtree("/etc/httpd", ignore_errors=True)
    for name in ("conf", "conf.d", "conf.modules.d"):
        pathlib.Path("/etc/httpd", name).mkdir(parents=True)
    for path in ("/run/httpd", "/var/log/httpd"):
        pathlib.Path(path).mkdir(exist_ok=True)
    for link, target in (("modules", "/usr/lib/apache2/modules"), ("logs", "/var/log/httpd"), ("run", "/run/httpd")):
        pathlib.Path("/etc/httpd", link).symlink_to(target)
    pathlib.Path("/etc/httpd/conf/httpd.conf").write_text(HTTPD)
    for name, modules in HTTPD_MODULES.items():
        lines = "".join(f"LoadModule {each}_module modules/mod_{each}.so\n" for each in modules.split())
        pathlib.Path("/etc/httpd/conf.modules.d", name).write_text(lines)
    pathlib.Path("/etc/httpd/conf.d/ssl.conf").write_text(HTTPD_SSL.format(certificate=certificate, key=key))
    return Httpd("/etc/httpd", "/etc/httpd/conf.d", ["-d", "/etc/httpd", "-f", "conf/httpd.conf"], "/run/httpd/httpd.pid")


def load_modules(directory, names):
    return "".join(f"LoadModule {each}_module {directory}/mod_{each}.so\n" for each in names)


def alpine_httpd(ssl=None):
    """Alpine's Apache; `ssl`: (certificate, key) of what its package apache2-ssl brings, None when that is not installed."""
    emptied("/etc/apache2")
    for path in ("/etc/apache2/conf.d", "/etc/apache2/modules", "/run/apache2"):
        pathlib.Path(path).mkdir(exist_ok=True)
    installed = COMMON_MODULES + (["ssl", "socache_shmcb"] if ssl else [])
    for each in installed:
        pathlib.Path(f"/etc/apache2/modules/mod_{each}.so").symlink_to(f"/usr/lib/apache2/modules/mod_{each}.so")
    pathlib.Path("/etc/apache2/httpd.conf").write_text(ALPINE_HTTPD.format(modules=load_modules("/etc/apache2/modules", COMMON_MODULES)))
    if ssl:
        text = load_modules("/etc/apache2/modules", ["ssl", "socache_shmcb"]) + HTTPD_SSL.format(certificate=ssl[0], key=ssl[1])
        text = text.replace("443 https", "443").replace("logs/", "/var/log/apache2/").replace("/run/httpd", "/run/apache2")
        pathlib.Path("/etc/apache2/conf.d/ssl.conf").write_text(text)
    return Httpd("/etc/apache2", "/etc/apache2/conf.d", ["-f", "/etc/apache2/httpd.conf"], "/run/apache2/httpd.pid")


def freebsd_httpd():
    """FreeBSD's Apache: ssl is a line that is commented out. /usr/local/etc must be writable."""
    place = pathlib.Path("/usr/local/etc/apache24")
    (place / "Includes").mkdir(parents=True)
    pathlib.Path("/run/apache2").mkdir(exist_ok=True)
    (place / "Includes/no-accf.conf").write_text("<IfDefine NOHTTPACCEPT>\n   AcceptFilter http none\n   AcceptFilter https none\n</IfDefine>\n")
    (place / "httpd.conf").write_text(FREEBSD_HTTPD.format(modules=load_modules("/usr/lib/apache2/modules", COMMON_MODULES)))
    emptied("/etc/apache2")
    return Httpd(place, place / "Includes", ["-d", "/usr/local", "-f", str(place / "httpd.conf")], "/run/apache2/httpd.pid")
