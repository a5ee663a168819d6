# Two images from one build: `control-plane` (the last stage, so the default) and `project-server`.
#
#   fly deploy                                                        the control plane, as fly.toml says
#   fly deploy --build-only --push -a <VALET_FLY_APP> \
#     --build-target project-server --image-label <label>             the image for VALET_FLY_IMAGE
#
# Both hold the bundle and Node alone: no node_modules, no package manager at run time.

FROM node:24.21.0-slim AS base
WORKDIR /app
ENV NODE_ENV=production

FROM base AS build
COPY package.json package-lock.json .npmrc ./
RUN NODE_ENV=development npm ci --ignore-scripts
COPY src ./src
COPY scripts ./scripts
RUN node scripts/bundle.ts

# Runs as root: a new volume's file system belongs to root, and so does the socket of the machine's own API.
# The machine is a virtual machine of its own and serves one project.
FROM base AS project-server
COPY --from=build /app/dist/project-server.mjs /app/dist/project-server.mjs.map ./
ENV DATA_DIR=/data PORT=3000
EXPOSE 3000
CMD ["node", "project-server.mjs"]

FROM base AS control-plane
COPY package.json LICENSE ./
COPY migrations ./migrations
COPY --from=build /app/dist ./dist
USER node
EXPOSE 7000
CMD ["node", "dist/valet.mjs", "serve"]
