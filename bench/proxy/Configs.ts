/** What nginx, HAProxy and Caddy are told: one thread, kept connections to the target, no log, else their defaults. */

export interface Ports {
  readonly port: number
  readonly target: number
}

export const nginx = (folder: string, { port, target }: Ports) => `
daemon off; master_process off;
pid ${folder}/nginx.pid; error_log stderr crit;
events { worker_connections 20000; }
http {
  access_log off; keepalive_requests 10000000; tcp_nodelay on;
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
  uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream target { server 127.0.0.1:${target}; keepalive 64; keepalive_requests 10000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location / {
      proxy_pass http://target; proxy_http_version 1.1; proxy_read_timeout 1h;
      proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }
  }
}
`

export const haproxy = ({ port, target }: Ports) => `
global
  nbthread 1
  maxconn 9000
defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
listen proxy
  bind 127.0.0.1:${port} backlog 4096
  server target 127.0.0.1:${target}
`

export const caddy = ({ port, target }: Ports) => `
{
  admin off
  auto_https off
  log {
    level ERROR
  }
}
http://:${port} {
  bind 127.0.0.1
  reverse_proxy 127.0.0.1:${target} {
    transport http {
      keepalive_idle_conns_per_host 64
    }
  }
}
`
